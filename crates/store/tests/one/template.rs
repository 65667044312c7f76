use super::fixture::{World, at, failed, job, noon, random, result, run, template, version};
use berth_domain::{FileId, JobStatus, TemplateId, Transition};
use berth_store::{
    ActivateError, CreateTemplateError, CreateVersionError, CreateWorkspaceError, DeleteTemplateError, JobId, TemplateChange,
};
use berth_wire::runner::Outcome;
use bytes::Bytes;

#[tokio::test]
async fn the_same_bytes_of_the_same_user_are_one_file() {
    let World { store, ada, .. } = World::new().await;
    let [one, two, three] = [(); 3].map(|()| FileId::new(noon(), random()));
    assert_eq!(store.create_file(one, ada.id, Bytes::from_static(b"tar"), noon()).await.unwrap(), one);
    assert_eq!(store.create_file(two, ada.id, Bytes::from_static(b"tar"), noon()).await.unwrap(), one);
    assert_eq!(store.create_file(three, ada.id, Bytes::from_static(b"other"), noon()).await.unwrap(), three);
    assert_eq!(store.file_bytes(one).await.unwrap().unwrap(), "tar");
    assert_eq!(store.file(two).await.unwrap(), None);
}

#[tokio::test]
async fn a_template_is_made_of_an_imported_version_and_of_no_other() {
    let World { store, ada, template: linux } = World::new().await;
    let fresh = version(&ada, None, "fresh");
    store.create_version(&fresh).await.unwrap();
    let pending = store.create_template(&template(&ada, fresh.id, "mac")).await;
    assert!(matches!(pending, Err(CreateTemplateError::VersionNotReady { status: JobStatus::Pending, .. })));
    run(&store, JobId::Import(fresh.id), failed("syntax error")).await;
    let broken = store.create_template(&template(&ada, fresh.id, "mac")).await;
    assert!(matches!(broken, Err(CreateTemplateError::VersionNotReady { status: JobStatus::Failed, .. })));
    assert_eq!(store.version(fresh.id).await.unwrap().unwrap().job.error, "syntax error");
    let taken = store.create_template(&template(&ada, linux.active_version, "mac")).await;
    assert!(matches!(taken, Err(CreateTemplateError::VersionOfOther { template, .. }) if template == linux.id));

    let good = version(&ada, None, "good");
    store.create_version(&good).await.unwrap();
    run(&store, JobId::Import(good.id), result(Outcome::Succeeded)).await;
    let clash = store.create_template(&template(&ada, good.id, "LINUX")).await;
    assert!(matches!(clash, Err(CreateTemplateError::NameTaken(_))));
    store.create_template(&template(&ada, good.id, "mac")).await.unwrap();
    let names: Vec<_> = store.templates().await.unwrap().into_iter().map(|template| template.name.to_string()).collect();
    assert_eq!(names, ["linux", "mac"]);
}

#[tokio::test]
async fn a_version_becomes_active_once_it_is_imported() {
    let World { store, ada, template } = World::new().await;
    let two = version(&ada, Some(template.id), "two");
    store.create_version(&two).await.unwrap();
    let again = version(&ada, Some(template.id), "TWO");
    assert!(matches!(store.create_version(&again).await, Err(CreateVersionError::NameTaken(_))));
    let nowhere = version(&ada, Some(TemplateId::new(noon(), random())), "one");
    assert!(matches!(store.create_version(&nowhere).await, Err(CreateVersionError::TemplateMissing(_))));

    assert!(matches!(store.activate_version(template.id, two.id, at(1)).await, Err(ActivateError::VersionNotReady { .. })));
    run(&store, JobId::Import(two.id), result(Outcome::Succeeded)).await;
    assert_eq!(store.activate_version(template.id, two.id, at(1)).await.unwrap().active_version, two.id);
    let names: Vec<_> = store.versions_of(template.id).await.unwrap().into_iter().map(|version| version.name).collect();
    assert_eq!(names, ["one", "two"]);
    assert_eq!(store.version_by_name(template.id, "two").await.unwrap().unwrap().id, two.id);
}

#[tokio::test]
async fn a_template_in_use_stays_and_a_deleted_one_gives_its_name_back() {
    let world = World::new().await;
    let (store, id) = (&world.store, world.template.id);
    let dev = world.running("dev", result(Outcome::Succeeded)).await;
    assert!(matches!(store.delete_template(id, at(1)).await, Err(DeleteTemplateError::InUse { count: 1 })));
    let change = TemplateChange { description: Some("a machine".to_owned()), ..TemplateChange::default() };
    assert_eq!(store.update_template(id, change, at(1)).await.unwrap().description, "a machine");
    assert!(
        matches!(store.delete_template(id, at(1)).await, Err(DeleteTemplateError::InUse { count: 1 })),
        "a change keeps the count"
    );

    let delete = world.next(&dev, Transition::Delete).await;
    run(store, delete, result(Outcome::Succeeded)).await;
    store.delete_template(id, at(2)).await.unwrap();
    assert!(matches!(store.delete_template(id, at(2)).await, Err(DeleteTemplateError::Missing(_))));
    assert!(store.templates().await.unwrap().is_empty());
    let permit = world.actor().may_create_workspace(world.ada.id).unwrap();
    let orphan = store.create_workspace(&permit, world.draft("again")).await;
    assert!(matches!(orphan, Err(CreateWorkspaceError::TemplateMissing(_))));

    let version = version(&world.ada, None, "new");
    store.create_version(&version).await.unwrap();
    run(store, JobId::Import(version.id), result(Outcome::Succeeded)).await;
    store.create_template(&template(&world.ada, version.id, "linux")).await.unwrap();
    assert_ne!(job(&dev), delete);
}
