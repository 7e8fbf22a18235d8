use std::process::Command;

use proptest::prelude::*;

use super::*;

fn own() -> Engine {
    Engine::of(std::process::id().cast_signed()).unwrap()
}

/// An engine that has ended.
fn dead() -> Engine {
    let mut child = Command::new("sleep").arg("60").spawn().unwrap();
    let engine = Engine::of(child.id().cast_signed()).unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    engine
}

fn views(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

fn with(folder: &Path, mounts: Vec<(&str, Mounted)>) -> Volumes {
    let mut volumes = Volumes::open(folder).unwrap();
    let mounts = mounts.into_iter().map(|(id, mounted)| (id.to_owned(), mounted)).collect();
    let volume = Volume { environment: "science".to_owned(), mounts };
    volumes.change(|volumes| drop(volumes.insert("packages".to_owned(), volume))).unwrap();
    volumes
}

#[test]
fn volumes_and_mounts_outlive_the_table() {
    let folder = tempfile::tempdir().unwrap();
    let before = with(folder.path(), vec![("1", Mounted::now("aa".to_owned(), own()))]);
    let mut after = Volumes::open(folder.path()).unwrap();
    assert_eq!(before.all(), after.all());
    assert_eq!(after.held(&views(&[])).unwrap(), views(&["aa"]));
    fs::write(folder.path().join("volumes.json"), "{").unwrap();
    assert!(Volumes::open(folder.path()).unwrap_err().to_string().contains("volumes.json: "));
}

#[test]
fn a_dead_engines_mounts_are_believed_as_long_as_a_container_can_have_them() {
    let folder = tempfile::tempdir().unwrap();
    let dead = dead();
    let mounted =
        |view: &str, since| Mounted { view: view.to_owned(), engine: dead.clone(), since };
    let now = seconds_since_boot();
    let long_ago = now - DECENT_SECONDS;
    let mounts = vec![
        ("new", mounted("aa", now)),
        ("running", mounted("bb", long_ago)),
        ("gone", mounted("cc", long_ago)),
        ("alive", Mounted { since: long_ago, ..Mounted::now("dd".to_owned(), own()) }),
    ];
    let mut volumes = with(folder.path(), mounts);
    assert_eq!(volumes.held(&views(&["bb"])).unwrap(), views(&["aa", "bb", "dd"]));
    // What is forgotten is forgotten on disk too.
    let again = Volumes::open(folder.path()).unwrap();
    assert!(!again.all()["packages"].mounts.contains_key("gone"));
    assert_eq!(again.all()["packages"].mounts.len(), 3);
}

#[test]
fn a_change_that_cannot_be_written_is_not_made() {
    let folder = tempfile::tempdir().unwrap();
    let mut volumes = with(folder.path(), Vec::new());
    fs::create_dir(folder.path().join("volumes.new")).unwrap();
    let error = volumes.change(BTreeMap::clear).unwrap_err();
    assert!(error.to_string().contains("volumes.json: "), "{error}");
    assert!(volumes.all().contains_key("packages"));
}

#[derive(Debug, Clone)]
enum Act {
    Mount(u8, u8),
    Unmount(u8),
    Reopen,
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        (0..4_u8, 0..3_u8).prop_map(|(id, view)| Act::Mount(id, view)),
        (0..4_u8).prop_map(Act::Unmount),
        Just(Act::Reopen),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]

    /// Views that are held are those that are mounted, whatever comes in which order.
    #[test]
    fn views_are_held_exactly_while_mounted(acts in prop::collection::vec(act(), 0..12)) {
        let folder = tempfile::tempdir().unwrap();
        let mut volumes = with(folder.path(), Vec::new());
        let mut model: BTreeMap<u8, u8> = BTreeMap::new();
        for act in acts {
            let change = |volumes: &mut Volumes, change: &dyn Fn(&mut Volume)| {
                volumes.change(|all| change(all.get_mut("packages").unwrap())).unwrap();
            };
            match act {
                Act::Mount(id, view) => {
                    let mounted = Mounted::now(view.to_string(), own());
                    change(&mut volumes, &|volume| {
                        volume.mounts.insert(id.to_string(), mounted.clone());
                    });
                    model.insert(id, view);
                }
                Act::Unmount(id) => {
                    change(&mut volumes, &|volume| {
                        volume.mounts.remove(&id.to_string());
                    });
                    model.remove(&id);
                }
                Act::Reopen => volumes = Volumes::open(folder.path()).unwrap(),
            }
            let expected: BTreeSet<String> = model.values().map(ToString::to_string).collect();
            prop_assert_eq!(volumes.held(&BTreeSet::new()).unwrap(), expected);
        }
    }
}
