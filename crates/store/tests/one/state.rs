//! Terraform states: listed, refused, restored, sealed.

use super::fixture::{World, at, claim, job, noon, result, run, state};
use berth_domain::{StateError, Transition, WorkspaceId};
use berth_store::{BlobError, JobId, PushStateError, PutStateError, StateAuthor, StateOrigin, Store, TableError, Workspace};
use berth_wire::runner::Outcome;
use bytes::Bytes;
use std::{fs, path::Path};

fn ada(world: &World) -> StateAuthor {
    StateAuthor { id: world.ada.id, name: world.ada.username.clone() }
}

/// A workspace whose first build left the states 1 and 2.
async fn with_states(world: &World) -> Workspace {
    let dev = world.queued("dev").await;
    let (session, _) = claim(&world.store, job(&dev), noon()).await;
    world.store.push_state(&session, state(1, "one"), at(1)).await.unwrap();
    world.store.push_state(&session, state(2, "two"), at(2)).await.unwrap();
    world.store.finish(&session, result(Outcome::Succeeded), at(3)).await.unwrap();
    dev
}

async fn numbers(store: &Store, workspace: WorkspaceId) -> Vec<(u64, u64, u64)> {
    let versions = store.state_versions(workspace).await.unwrap();
    versions.iter().map(|one| (one.pointer.serial, one.pointer.head.as_ref().unwrap().serial, one.build_number)).collect()
}

/// The file of every blob below a directory, but the seal's.
fn blobs(directory: &Path) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).unwrap().map(Result::unwrap) {
        match entry.file_type().unwrap().is_dir() {
            true => found.extend(blobs(&entry.path())),
            false if entry.file_name() != ".sealed" => found.push(entry.path()),
            false => {}
        }
    }
    found.sort();
    found
}

#[tokio::test]
async fn every_state_is_listed_with_its_build_and_any_of_them_can_be_read() {
    let world = World::new().await;
    let dev = with_states(&world).await;
    let stop = world.next(&dev, Transition::Stop).await;
    let (session, _) = claim(&world.store, stop, at(10)).await;
    world.store.push_state(&session, state(3, "three"), at(11)).await.unwrap();
    assert_eq!(numbers(&world.store, dev.id).await, [(1, 1, 1), (2, 2, 1), (3, 3, 2)], "also while the build runs");
    let versions = world.store.state_versions(dev.id).await.unwrap();
    assert_eq!((versions[0].created_at, &versions[0].origin), (at(1), &StateOrigin::Build));
    assert_eq!((versions[2].pointer.size, versions[2].pointer.sha256.len()), (state(3, "three").len() as u64, 64));
    for (number, content) in [(1, state(1, "one")), (2, state(2, "two")), (3, state(3, "three"))] {
        assert_eq!(world.store.state_version(dev.id, number).await.unwrap().unwrap(), content);
    }
    assert_eq!(world.store.state_version(dev.id, 4).await.unwrap(), None);
}

#[tokio::test]
async fn an_older_serial_another_lineage_and_what_is_no_state_are_refused_from_everyone() {
    let world = World::new().await;
    let dev = with_states(&world).await;
    let other = Bytes::from(r#"{"version":4,"serial":9,"lineage":"other","resources":[]}"#);
    let wrong =
        [state(2, "another"), state(1, "one"), other, Bytes::from("{"), Bytes::from(r#"{"version":3,"serial":9,"lineage":"l"}"#)];
    for bytes in &wrong {
        let refused = world.store.put_state(dev.id, bytes.clone(), ada(&world), at(5)).await;
        assert!(matches!(refused, Err(PutStateError::Refused(_))), "{bytes:?}");
    }
    let (session, _) = claim(&world.store, world.next(&dev, Transition::Stop).await, at(6)).await;
    for bytes in &wrong {
        let refused = world.store.push_state(&session, bytes.clone(), at(7)).await;
        assert!(matches!(refused, Err(PushStateError::Refused(_))), "{bytes:?}");
    }
    assert_eq!(world.store.state(dev.id).await.unwrap().unwrap(), state(2, "two"));
    assert_eq!(world.store.state_versions(dev.id).await.unwrap().len(), 2);
}

#[tokio::test]
async fn a_person_pushes_between_builds_only_and_the_next_build_works_on_it() {
    let world = World::new().await;
    let dev = with_states(&world).await;
    let pushed = world.store.put_state(dev.id, state(7, "by hand"), ada(&world), at(5)).await.unwrap();
    assert_eq!((pushed.pointer.serial, &pushed.origin), (3, &StateOrigin::Pushed(ada(&world))));
    assert_eq!(world.store.state(dev.id).await.unwrap().unwrap(), state(7, "by hand"));
    let first = world.store.job(job(&dev)).await.unwrap().unwrap();
    assert_eq!(world.store.job_state(&first).await.unwrap().unwrap(), state(7, "by hand"), "as Coder's route has it");

    let stop = world.next(&dev, Transition::Stop).await;
    let busy = world.store.put_state(dev.id, state(8, "x"), ada(&world), at(6)).await;
    assert!(matches!(busy, Err(PutStateError::Busy { number: 2, .. })), "{busy:?}");
    let (session, _) = claim(&world.store, stop, at(7)).await;
    let seen = world.store.job_by_session(&session).await.unwrap();
    assert_eq!(world.store.job_state(&seen).await.unwrap().unwrap(), state(7, "by hand"));
    assert!(matches!(
        world.store.push_state(&session, state(7, "old"), at(8)).await,
        Err(PushStateError::Refused(StateError::Serial { given: 7, newest: 7 }))
    ));
    world.store.push_state(&session, state(8, "on"), at(8)).await.unwrap();
}

#[tokio::test]
async fn going_back_is_a_new_version_and_nothing_is_lost() {
    let world = World::new().await;
    let dev = with_states(&world).await;
    let restored = world.store.restore_state(dev.id, 1, ada(&world), at(5)).await.unwrap();
    assert_eq!(restored.origin, StateOrigin::Restored { by: ada(&world), from: 1 });
    assert_eq!(numbers(&world.store, dev.id).await, [(1, 1, 1), (2, 2, 1), (3, 3, 1)]);
    let newest = world.store.state(dev.id).await.unwrap().unwrap();
    let value: serde_json::Value = serde_json::from_slice(&newest).unwrap();
    assert_eq!((&value["outputs"]["note"]["value"], &value["serial"]), (&"one".into(), &3.into()));
    assert_eq!(world.store.state_version(dev.id, 2).await.unwrap().unwrap(), state(2, "two"));
    world.store.restore_state(dev.id, 2, ada(&world), at(6)).await.unwrap();
    assert_eq!(numbers(&world.store, dev.id).await.last(), Some(&(4, 4, 1)));
    assert!(matches!(world.store.restore_state(dev.id, 9, ada(&world), at(7)).await, Err(PutStateError::NoVersion(9))));
    world.next(&dev, Transition::Stop).await;
    assert!(matches!(world.store.restore_state(dev.id, 1, ada(&world), at(8)).await, Err(PutStateError::Busy { .. })));
}

#[tokio::test]
async fn a_deleted_workspace_takes_no_state_and_keeps_those_it_had() {
    let world = World::new().await;
    let dev = with_states(&world).await;
    run(&world.store, world.next(&dev, Transition::Delete).await, result(Outcome::Succeeded)).await;
    let refused = world.store.put_state(dev.id, state(9, "x"), ada(&world), at(5)).await;
    assert!(matches!(refused, Err(PutStateError::Missing(_))));
    assert!(matches!(world.store.restore_state(dev.id, 1, ada(&world), at(5)).await, Err(PutStateError::Missing(_))));
    assert_eq!(world.store.state_version(dev.id, 1).await.unwrap().unwrap(), state(1, "one"));
}

#[tokio::test]
async fn one_of_two_who_push_at_the_same_time_is_refused() {
    let world = World::new().await;
    let dev = with_states(&world).await;
    let (store, by) = (&world.store, ada(&world));
    let (one, two) = tokio::join!(
        store.put_state(dev.id, state(3, "one of them"), by.clone(), at(5)),
        store.put_state(dev.id, state(3, "the other"), by.clone(), at(5))
    );
    assert!(one.is_ok() != two.is_ok(), "{one:?} {two:?}");
    assert_eq!(store.state_versions(dev.id).await.unwrap().len(), 3);
}

#[tokio::test]
async fn a_state_of_ten_megabytes_is_kept_and_restored() {
    let world = World::new().await;
    let dev = world.queued("dev").await;
    let (session, _) = claim(&world.store, job(&dev), noon()).await;
    let large = state(1, &"x".repeat(10_000_000));
    world.store.push_state(&session, large.clone(), noon()).await.unwrap();
    world.store.push_state(&session, state(2, "small"), noon()).await.unwrap();
    world.store.finish(&session, result(Outcome::Succeeded), noon()).await.unwrap();
    assert_eq!(world.store.state_version(dev.id, 1).await.unwrap().unwrap(), large);
    let restored = world.store.restore_state(dev.id, 1, ada(&world), at(1)).await.unwrap();
    assert!(restored.pointer.size >= 10_000_000);
}

#[tokio::test]
async fn a_damaged_blob_is_named_and_the_other_versions_are_still_restored() {
    let dir = tempfile::tempdir().unwrap();
    let world = World::on(Store::open_local(dir.path()).await.unwrap()).await;
    let dev = with_states(&world).await;
    let files = blobs(&dir.path().join("blobs/state"));
    assert_eq!(files.len(), 2);
    let mut bytes = fs::read(&files[1]).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&files[1], &bytes).unwrap();
    let damaged = world.store.state(dev.id).await.unwrap_err();
    let name = files[1].file_name().unwrap().to_string_lossy().into_owned();
    assert!(matches!(&damaged, TableError::Blob(BlobError::Damaged(key)) if key.ends_with(&name)), "{damaged}");
    fs::write(&files[1], fs::read(&files[0]).unwrap()).unwrap();
    assert!(world.store.state(dev.id).await.is_err(), "another blob in its place");
    fs::remove_file(&files[1]).unwrap();
    assert!(matches!(world.store.state(dev.id).await, Err(TableError::Blob(BlobError::Missing(_)))));
    world.store.restore_state(dev.id, 1, ada(&world), at(5)).await.unwrap();
    assert!(world.store.state(dev.id).await.unwrap().is_some());
}

#[tokio::test]
async fn no_secret_of_a_state_is_anywhere_in_the_data_directory() {
    let dir = tempfile::tempdir().unwrap();
    let world = World::on(Store::open_local(dir.path()).await.unwrap()).await;
    let dev = world.queued("dev").await;
    let (session, _) = claim(&world.store, job(&dev), noon()).await;
    world.store.push_state(&session, state(1, "canary-7f3a"), noon()).await.unwrap();
    world.store.finish(&session, result(Outcome::Succeeded), noon()).await.unwrap();
    world.store.restore_state(dev.id, 1, ada(&world), at(1)).await.unwrap();
    drop(world);
    let found = std::process::Command::new("grep").args(["-rla", "canary-7f3a"]).arg(dir.path()).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&found.stdout), "");
    let store = Store::open_local(dir.path()).await.unwrap();
    assert_eq!(store.state_version(dev.id, 1).await.unwrap().unwrap(), state(1, "canary-7f3a"));
    drop(store);
    fs::remove_file(dir.path().join("keys/blob-1")).unwrap();
    let refused = Store::open_local(dir.path()).await.unwrap_err().to_string();
    assert!(refused.contains("blob-1") && refused.contains("missing"), "{refused}");
}

#[tokio::test]
async fn a_data_directory_of_before_versions_and_seals_is_read() {
    let dir = tempfile::tempdir().unwrap();
    let world = World::on(Store::open_local(dir.path()).await.unwrap()).await;
    let dev = with_states(&world).await;
    for file in blobs(&dir.path().join("blobs/state")) {
        let serial: u64 = file.file_name().unwrap().to_string_lossy()[..8].parse().unwrap();
        fs::write(&file, state(serial, if serial == 1 { "one" } else { "two" })).unwrap();
    }
    let JobId::Build(_) = job(&dev) else { panic!() };
    assert_eq!(world.store.state(dev.id).await.unwrap().unwrap(), state(2, "two"));
    assert_eq!(world.store.state_version(dev.id, 1).await.unwrap().unwrap(), state(1, "one"));
}
