use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;

use proptest::prelude::*;

use super::*;

const ONE: &[u8] = b"one key of at least 32 random bytes";
const TWO: &[u8] = b"two key of at least 32 random bytes";

#[test]
fn content_is_opened_by_its_key_and_no_other() {
    let sealed = Keys::of(Some(ONE), &[]).seal("a", b"hunter2").unwrap();
    assert!(!sealed.windows(6).any(|part| part == b"hunter"));
    let opened = |keys: &Keys| keys.open("a", &sealed).map(|opened| opened.is_outdated);
    assert_eq!(opened(&Keys::of(Some(ONE), &[TWO])), Ok(false));
    assert_eq!(opened(&Keys::of(Some(TWO), &[ONE])), Ok(true));
    assert_eq!(opened(&Keys::of(None, &[ONE])), Ok(true));
    for (keys, given) in [
        (Keys::default(), "no key was given".to_owned()),
        (Keys::of(Some(TWO), &[]), format!("the keys given are {}", Key::derive(TWO).name)),
    ] {
        let (what, key) = ("a".to_owned(), Key::derive(ONE).name.to_string());
        assert_eq!(opened(&keys), Err(SealedError::Unknown { what, key, given }));
    }
}

#[test]
fn content_without_a_key_stays_as_it_is_and_is_taken_over() {
    let none = Keys::default();
    assert_eq!(none.seal("a", b"{}").unwrap(), b"{}");
    assert!(!none.open("a", b"{}").unwrap().is_outdated);
    let keys = Keys::of(Some(ONE), &[]);
    assert_eq!(keys.open("a", b"{}"), Ok(Opened { content: b"{}".to_vec(), is_outdated: true }));
}

#[test]
fn the_form_of_what_is_stored_stays_readable() {
    // Made by the first version that had this form.
    let digits = "00505153013405a9ffa5d777ab58aaceeb0b7cc4d0a699a84342d82dfe800efb48fa2c25d872\
                  3006420afc1047b9827b62621656f35583586518b044ad1b7ecd474040235122";
    let byte = |at: usize| u8::from_str_radix(&digits[at..at + 2], 16).unwrap();
    let stored: Vec<u8> = (0..digits.len()).step_by(2).map(byte).collect();
    let opened = Keys::of(Some(ONE), &[]).open("function hello", &stored).unwrap();
    assert_eq!(opened.content, b"{\"name\": \"hello\"}");
}

#[test]
fn key_files_are_for_root_alone_and_long_enough() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let read = || Key::read(file.path()).map(|key| key.name);
    let mode = |mode| fs::set_permissions(file.path(), Permissions::from_mode(mode)).unwrap();
    fs::write(file.path(), "hunter2").unwrap();
    let error = read().unwrap_err();
    assert!(matches!(error, KeyError::Length { length: 7, .. }));
    assert!(!error.to_string().contains("hunter2"));
    fs::write(file.path(), vec![7; 65_537]).unwrap();
    assert!(matches!(read(), Err(KeyError::Length { .. })));
    fs::write(file.path(), ONE).unwrap();
    for open in [0o640, 0o604, 0o620] {
        mode(open);
        assert!(matches!(read(), Err(KeyError::Open { .. })), "{open:o}");
    }
    mode(0o400);
    assert_eq!(read().unwrap(), Key::derive(ONE).name);
    assert!(matches!(Key::read("/nowhere/key".as_ref()), Err(KeyError::Read { .. })));
}

proptest! {
    #[test]
    fn what_was_changed_or_moved_is_refused(
        content in proptest::collection::vec(any::<u8>(), 0..100),
        at in any::<proptest::sample::Index>(),
        bit in 0..8_u8,
        length in any::<proptest::sample::Index>(),
    ) {
        let keys = Keys::of(Some(ONE), &[]);
        let sealed = keys.seal("a", &content).unwrap();
        prop_assert_eq!(keys.open("a", &sealed).unwrap(), Opened { content, is_outdated: false });
        prop_assert!(keys.open("b", &sealed).is_err());
        let mut changed = sealed.clone();
        changed[at.index(sealed.len())] ^= 1 << bit;
        // A change of the mark makes it content that is not sealed, which is not refused.
        prop_assert!(!changed.starts_with(&MARK) || keys.open("a", &changed).is_err());
        let cut = &sealed[..length.index(sealed.len())];
        prop_assert!(!cut.starts_with(&MARK) || keys.open("a", cut).is_err());
    }
}
