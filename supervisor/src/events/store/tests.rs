use pipsqueak::wire::EventCondition::RetriesExhausted;

use super::*;

fn open(folder: &tempfile::TempDir) -> Store {
    let functions = ["f", "g"].map(ToOwned::to_owned).into();
    Store::open(folder.path().join("events.sqlite"), &functions, Arc::default()).unwrap()
}

fn accept(store: &Store, id: &str, function: &str) {
    store.accept(id, function, EventOrigin::Invoke, "{\"n\": 1.10}").unwrap();
}

fn error() -> FunctionError {
    let (error_type, error_message) = ("E".to_owned(), "no".to_owned());
    FunctionError { error_type, error_message, stack_trace: Vec::new() }
}

fn dead() -> Verdict {
    Verdict::Dead { condition: RetriesExhausted, attempts: 3, error: Some(error()) }
}

#[test]
fn an_event_goes_from_state_to_state_and_no_other_way() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder);
    accept(&store, "1", "f");
    let running = store.claim(&[]).unwrap().unwrap();
    assert_eq!((running.id.as_str(), running.payload.as_str()), ("1", "{\"n\": 1.10}"));
    assert!(store.claim(&[]).unwrap().is_none());
    assert!(matches!(store.remove("1"), Err(EventsError::State { state: "running", .. })));
    assert!(matches!(store.retry("1"), Err(EventsError::State { state: "running", .. })));
    let (due, attempts) = (now_ms() - 1, 1);
    let again = Verdict::Again { due, attempts, deferrals: 0, error: error() };
    store.settle(&running, &again).unwrap();
    let shown = store.show("1").unwrap();
    assert_eq!((shown.state, shown.attempts, shown.error), (EventState::Pending, 1, Some(error())));
    let running = store.claim(&[]).unwrap().unwrap();
    assert_eq!(running.past.attempts, 1);
    store.settle(&running, &dead()).unwrap();
    assert!(store.claim(&[]).unwrap().is_none());
    let shown = store.show("1").unwrap();
    assert_eq!((shown.state, shown.condition), (EventState::Dead, Some(RetriesExhausted)));
    assert_eq!(shown.payload.unwrap().get(), "{\"n\": 1.10}");
    store.retry("1").unwrap();
    let running = store.claim(&[]).unwrap().unwrap();
    assert_eq!(running.past.attempts, 0);
    store.settle(&running, &Verdict::Done).unwrap();
    assert!(matches!(store.show("1"), Err(EventsError::Unknown(_))));
    // A late settling brings nothing back.
    store.settle(&running, &again).unwrap();
    assert_eq!(store.counts().unwrap(), EventCounts::default());
}

#[test]
fn what_was_running_is_pending_at_the_next_start() {
    let folder = tempfile::tempdir().unwrap();
    {
        let store = open(&folder);
        for id in ["1", "2", "3"] {
            accept(&store, id, "f");
        }
        let first = store.claim(&[]).unwrap().unwrap();
        store.settle(&first, &dead()).unwrap();
        store.claim(&[]).unwrap().unwrap();
        accept(&store, "4", "g");
    }
    let counts = EventCounts { pending: 3, running: 0, dead: 1 };
    assert_eq!(open(&folder).counts().unwrap(), counts);
    // Events of a removed function are removed.
    let path = folder.path().join("events.sqlite");
    let store = Store::open(path, &["f".to_owned()].into(), Arc::default()).unwrap();
    assert_eq!(store.counts().unwrap(), EventCounts { pending: 2, ..counts });
}

#[test]
fn busy_functions_hold_nobody_up() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder);
    accept(&store, "1", "f");
    accept(&store, "2", "f");
    accept(&store, "3", "g");
    assert_eq!(store.claim(&["f".to_owned()]).unwrap().unwrap().id, "3");
    assert!(store.claim(&["f".to_owned()]).unwrap().is_none());
    assert_eq!(store.next_due(&["f".to_owned()]).unwrap(), None);
    assert!(store.next_due(&[]).unwrap().is_some_and(|due| due <= now_ms()));
    assert_eq!(store.claim(&["g".to_owned()]).unwrap().unwrap().id, "1");
}

#[test]
fn what_waits_and_what_is_dead_are_bounded() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder);
    store
        .lock()
        .execute(
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?1)
             INSERT INTO events (id, function, origin, payload, bytes, accepted, state, due)
             SELECT 'e' || i, 'f', 'invoke', '{}', 2, i, 'pending', i FROM n",
            [MAX_PENDING],
        )
        .unwrap();
    let refused = store.accept("more", "f", EventOrigin::Invoke, "{}");
    assert!(matches!(refused, Err(EventsError::Full { .. })), "{refused:?}");
    let sql = "UPDATE events SET bytes = ?1 WHERE id = 'other'";
    accept(&store, "other", "g");
    store.lock().execute(sql, [MAX_PENDING_BYTES - 4]).unwrap();
    let refused = store.accept("large", "g", EventOrigin::Invoke, "12345");
    assert!(matches!(refused, Err(EventsError::Full { .. })), "{refused:?}");
    store.accept("small", "g", EventOrigin::Invoke, "1234").unwrap();
    for _ in 0..MAX_DEAD + 3 {
        let running = store.claim(&["g".to_owned()]).unwrap().unwrap();
        store.settle(&running, &dead()).unwrap();
    }
    assert_eq!(store.counts().unwrap().dead, MAX_DEAD.cast_unsigned());
    // The oldest dead letter was removed.
    assert!(store.show("e3").is_err() && store.show("e4").is_ok());
    let (listed, total) = store.list(Some("f"), true, 7).unwrap();
    assert_eq!((listed.len(), listed[0].id.as_str(), total), (7, "e4", MAX_DEAD.cast_unsigned()));
    store.forget("f").unwrap();
    assert_eq!(store.list(None, false, 7).unwrap().1, 2);
}

/// True if a file of the database has a text.
fn has(folder: &tempfile::TempDir, text: &str) -> bool {
    let files = std::fs::read_dir(folder.path()).unwrap();
    let mut contents = files.map(|file| std::fs::read(file.unwrap().path()).unwrap());
    contents.any(|content| content.windows(text.len()).any(|part| part == text.as_bytes()))
}

#[test]
fn no_page_has_what_is_encrypted_and_each_key_takes_over() {
    const ONE: &[u8] = b"one key of at least 32 random bytes";
    const TWO: &[u8] = b"two key of at least 32 random bytes";
    let folder = tempfile::tempdir().unwrap();
    let open = |keys: Keys| {
        let path = folder.path().join("events.sqlite");
        Store::open(path, &["f".to_owned()].into(), Arc::new(keys))
    };
    let payload = |text: &str| format!("{{\"secret\": \"{text}\"}}");
    let fails = |store: &Store, text: &str| {
        let running = store.claim(&[]).unwrap().unwrap();
        let error = FunctionError { error_message: text.to_owned(), ..error() };
        let verdict =
            Verdict::Dead { condition: RetriesExhausted, attempts: 3, error: Some(error) };
        store.settle(&running, &verdict).unwrap();
    };
    {
        let store = open(Keys::default()).unwrap();
        // A payload with a page of its own, which is free afterwards.
        let long = payload(&format!("{}hunter2", "x".repeat(9000)));
        store.accept("0", "f", EventOrigin::Invoke, &long).unwrap();
        store.remove("0").unwrap();
        store.accept("1", "f", EventOrigin::Invoke, &payload("hunter2")).unwrap();
        fails(&store, "hunter2 in its message");
        assert!(has(&folder, "hunter2"));
    }
    for (current, old) in [(Some(ONE), None), (Some(TWO), Some(ONE)), (None, Some(TWO))] {
        let store = open(Keys::of(current, old.as_slice())).unwrap();
        assert_eq!(has(&folder, "hunter2"), current.is_none());
        let shown = store.show("1").unwrap();
        assert_eq!(shown.payload.unwrap().get(), payload("hunter2"));
        assert_eq!(shown.error.unwrap().error_message, "hunter2 in its message");
        if current.is_none() {
            break;
        }
        store.accept("2", "f", EventOrigin::Invoke, &payload("hunter2 again")).unwrap();
        fails(&store, "hunter2 again");
        assert!(!has(&folder, "hunter2"));
        store.remove("2").unwrap();
        drop(store);
        let error = open(Keys::default()).unwrap_err();
        assert!(matches!(error, EventsError::Sealed(_)), "{error}");
    }
}
