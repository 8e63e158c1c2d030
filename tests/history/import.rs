//! `import` takes all or nothing, and no epoch ever means two things.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

use crate::store::{Folder, Store, counted, ended, history, import, parsed, said};

/// Holds that an import is refused with this reason and changes nothing.
#[track_caller]
fn refused(folder: &Folder, export: &str, why: &str) {
    let before = folder.files();
    import(folder, export).refused(why);
    let after = folder.files();
    assert!(after == before, "{why}: {:?}, then {:?}", before.keys(), after.keys());
}

#[test]
fn one_bad_line_and_nothing_is_imported() {
    let export = history(&counted(5), &["export"]).well();
    let lines: Vec<&str> = export.lines().collect();
    let with = |at: usize, line: &str| {
        let mut lines = lines.clone();
        lines[at] = line;
        lines.join("\n")
    };
    let elsewhere = lines[3].replace("tea", "logs");
    for folder in [Folder::new(), {
        let folder = Folder::new();
        Store::open(&folder.store()).count("old", 1..=3);
        folder
    }] {
        for (export, why) in [
            (with(2, "nonsense"), "line 3: it is no message of an export"),
            (with(4, &lines[4][..50]), "line 5: it is no message of an export"),
            (with(1, &lines[1].replace("alice", "a\\u0007b")), "line 2: name \"a\\u{7}b\" is none"),
            (with(3, lines[2]), "line 4: seq 3 of tea is not behind the one before"),
            (
                with(3, &lines[3].replace("\"epoch\":\"", "\"epoch\":\"x")),
                "line 4: the epoch is not that of the lines of tea",
            ),
            (with(0, &"x".repeat(101 << 20)), "line 1: it is longer than"),
            (format!("{}\n\n{elsewhere}\n{}", lines[0], lines[0]), "line 4: seq 1 of tea"),
        ] {
            refused(&folder, &export, why);
        }
    }
}

#[test]
fn rooms_that_have_lines_are_refused_and_others_are_taken() {
    let folder = Folder::new();
    let mut store = Store::open(&folder.store());
    store.count("tea", 1..=3);
    store.load("empty");
    drop(store);
    let export = history(&counted(2), &["export"]).well();
    refused(&folder, &export, "line 1: there are lines of tea in the store already");
    let before = history(&folder, &["export"]).well();
    import(&folder, &export.replace("tea", "coffee")).well();
    import(&folder, &export.replace("tea", "empty")).well();
    let after = history(&folder, &["export"]).well();
    assert_eq!(after, before + &export.replace("tea", "coffee") + &export.replace("tea", "empty"));
    history(&folder, &["verify"]).well();
    let mut store = Store::open(&folder.store());
    assert_eq!((store.load("tea").newest, store.load("coffee").newest), (3, 2));
    store.count("coffee", 3..=3);
    drop(store);
    assert_eq!(parsed(&history(&folder, &["export", "--room", "coffee"]).well())[2]["seq"], 3);
}

/// More may have been said after the export, under the same epoch, where it was made.
#[test]
fn an_imported_room_has_an_epoch_that_never_was() {
    let original = counted(5);
    let export = history(&original, &["export"]).well();
    let epoch = Store::open(&original.store()).load("tea").epoch;
    let mut epochs = vec![epoch.clone()];
    for _ in 0..2 {
        let copy = Folder::new();
        import(&copy, &export).well();
        let loaded = Store::open(&copy.store()).load("tea");
        assert_eq!((loaded.newest, loaded.former), (5, Some((epoch.clone(), 5))), "whoever is not further goes on");
        assert!(!epochs.contains(&loaded.epoch), "{epochs:?}");
        epochs.push(loaded.epoch.clone());
        // What is said from now on is known by the new one alone, and what was before by both.
        let mut store = Store::open(&copy.store());
        store.add("tea", [said("new")]);
        drop(store);
        let lines = parsed(&history(&copy, &["export"]).well());
        assert!(lines.len() == 6 && lines.iter().all(|line| line["epoch"] == *loaded.epoch), "{lines:?}");
    }
    // Even in the store where it was before.
    let again = Folder::new();
    import(&again, &export).well();
    let first = Store::open(&again.store()).load("tea").epoch;
    again.tamper("DELETE FROM message; DELETE FROM room");
    import(&again, &export).well();
    assert_ne!(Store::open(&again.store()).load("tea").epoch, first);
}

/// A store that has perhaps lost lines gives its rooms new epochs; the export has the one by which most readers know its lines.
#[test]
fn the_epoch_of_an_export_is_the_former_one_until_something_is_said() {
    let folder = counted(5);
    let epoch_of_export =
        || parsed(&history(&folder, &["export"]).well())[0]["epoch"].as_str().expect("one").to_owned();
    let first = Store::open(&folder.store()).load("tea").epoch;
    assert_eq!(epoch_of_export(), *first);
    folder.tamper("UPDATE meta SET value = 0 WHERE name = 'clean'; UPDATE meta SET value = 'x' WHERE name = 'boot'");
    let mut store = Store::open(&folder.store());
    let second = store.load("tea");
    assert_eq!(second.former, Some((first.clone(), 5)));
    assert_eq!(epoch_of_export(), *first, "both mean the same lines");
    store.add("tea", [said("new")]);
    drop(store);
    assert_eq!(epoch_of_export(), *second.epoch);
}

#[test]
fn an_export_without_epochs_is_taken() {
    let export = history(&counted(3), &["export"]).well();
    let without = |line: &str| {
        let (start, rest) = line.split_once("\"epoch\":\"").expect("an epoch");
        format!("{start}{}\r\n", &rest[18..])
    };
    let bare = export.lines().map(without).collect::<Vec<_>>().concat();
    let folder = Folder::new();
    import(&folder, &bare).well();
    assert_eq!(Store::open(&folder.store()).load("tea").former, None);
}

#[test]
fn what_another_import_has_left_is_no_hindrance() {
    let export = history(&counted(3), &["export"]).well();
    let folder = Folder::new();
    fs::write(folder.file("chinwag.db-import"), "half of it").expect("a file");
    import(&folder, &export).well();
    assert_eq!(folder.files().into_keys().collect::<Vec<_>>(), ["chinwag.db"]);
}

#[test]
fn what_cannot_be_read_is_named() {
    let folder = Folder::new();
    history(&folder, &["import", "/nowhere/at.all"])
        .refused("cannot read /nowhere/at.all: No such file or directory\n");
    let itself = folder.path().to_str().expect("a path").to_owned();
    history(&folder, &["import", &itself]).refused("is a directory");
    assert!(folder.files().is_empty(), "nothing is made before that");
}

/// docs/OPERATIONS.md: "make all these files with mode 0600, whatever the umask".
#[test]
fn only_its_owner_may_read_what_is_made() {
    let from = counted(3);
    fs::write(from.file("export.jsonl"), history(&from, &["export"]).well()).expect("a file");
    let folder = Folder::new();
    let command = "umask 000; exec \"$0\" history import \"$1\" --store \"$2\"";
    let mut shell = Command::new("sh");
    shell.args(["-c", command, env!("CARGO_BIN_EXE_chinwag")]).arg(from.file("export.jsonl")).arg(folder.store());
    ended(&mut shell).well();
    let mode = fs::metadata(folder.store()).expect("it is there").permissions().mode();
    assert_eq!(mode & 0o777, 0o600, "{mode:o}");
}
