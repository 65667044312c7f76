use super::fixture::{World, at, claim, failed, job, noon, random, result, result_with_agent, run, stranger, template, version};
use berth_domain::{FileId, JobStatus, TemplateId, TemplateName, Transition, VersionId};
use berth_store::{
    ActivateError, ArchiveVersionError, CreateTemplateError, CreateVersionError, CreateWorkspaceError, DeleteTemplateError, JobId,
    LeaseError, UpdateTemplateError, UpdateVersionError, Version,
};
use berth_wire::{
    runner::{Imported, Outcome},
    template::UpdateTemplate,
};
use bytes::Bytes;
use serde_json::{Value, json};
use uuid::Uuid;

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
    let change = UpdateTemplate { description: Some("a machine".to_owned()), ..UpdateTemplate::default() };
    assert_eq!(store.update_template(id, None, &change, at(1)).await.unwrap().description, "a machine");
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

#[tokio::test]
async fn a_version_remembers_what_its_import_found_but_no_secret_of_an_agent() {
    let World { store, ada, .. } = World::new().await;
    let fresh = version(&ada, None, "fresh");
    store.create_version(&fresh).await.unwrap();
    let start = result_with_agent(Uuid::from_u128(9), "token-canary").resources;
    let found = Imported { stop: start.clone(), start, lock: "lock".to_owned(), readme: "# Hi".to_owned(), ..Imported::default() };
    let finish = berth_store::JobResult { imported: Some(Box::new(found)), ..result(Outcome::Succeeded) };
    run(&store, JobId::Import(fresh.id), finish).await;
    let kept = store.version(fresh.id).await.unwrap().unwrap();
    assert_eq!((kept.imported.readme.as_str(), kept.imported.lock.as_str()), ("# Hi", "lock"));
    let (start, stop) = (&kept.imported.start[0], &kept.imported.stop[0]);
    assert_eq!((start.agents[0].name.as_str(), start.agents[0].scripts[0].display_name.as_str()), ("main", "start"));
    assert_ne!(start.id, stop.id, "each has an id of its own");
    let text = serde_json::to_string(&kept).unwrap();
    assert!(!text.contains("canary") && !text.contains("secret") && !text.contains("echo hi"), "{text}");
}

#[tokio::test]
async fn the_modules_of_a_version_are_kept_by_who_holds_its_import() {
    let World { store, ada, template } = World::new().await;
    let two = version(&ada, Some(template.id), "two");
    store.create_version(&two).await.unwrap();
    let (session, _) = claim(&store, JobId::Import(two.id), noon()).await;
    let refused = store.put_modules(&stranger(&session), Bytes::from_static(b"evil")).await;
    assert!(matches!(refused, Err(LeaseError::Lost(_))), "{refused:?}");
    assert_eq!(store.modules(two.id).await.unwrap(), None);
    store.put_modules(&session, Bytes::from_static(b"tar")).await.unwrap();
    store.put_modules(&session, Bytes::from_static(b"tar")).await.unwrap();
    store.finish(&session, result(Outcome::Succeeded), noon()).await.unwrap();
    assert_eq!(store.modules(two.id).await.unwrap().unwrap(), "tar");
    let late = store.put_modules(&session, Bytes::from_static(b"late")).await;
    assert!(matches!(late, Err(LeaseError::Lost(_))), "{late:?}");
    assert_eq!(store.modules(two.id).await.unwrap().unwrap(), "tar", "the import's end settles it");
    assert_eq!(store.versions_of(template.id).await.unwrap().len(), 2, "it is still listed");
}

#[test]
fn a_version_of_before_imports_kept_more_still_reads() {
    let row = json!({
        "id": Uuid::from_u128(1), "template": null, "name": "one", "message": "", "file": Uuid::from_u128(2), "created_by": Uuid::from_u128(3),
        "created_by_name": "ada", "created_at": noon(), "updated_at": noon(), "variables": {"size": "large"},
        "job": serde_json::to_value(berth_store::Job::queued(noon())).unwrap(), "readme": "# Hi", "warnings": ["w"],
        "parameters": [{"name": "disk", "type": "number", "default": null, "rule": {"min": 5, "regex": null, "error": null, "max": null, "monotonic": null}}],
    });
    let read: Version = serde_json::from_value(row).unwrap();
    assert_eq!((read.imported.readme.as_str(), read.imported.parameters[0].rule.min), ("# Hi", Some(5)));
    assert_eq!((read.imported.modules.clone(), read.variables["size"].expose().as_str()), (None, "large"));
    let written: Value = serde_json::to_value(&read).unwrap();
    assert_eq!((&written["variables"]["size"], &written["declared_variables"]), (&json!("large"), &json!([])));
}

#[tokio::test]
async fn a_template_takes_a_free_name_and_its_old_one_is_free_then() {
    let World { store, ada, template: linux } = World::new().await;
    let mac = version(&ada, None, "one");
    store.create_version(&mac).await.unwrap();
    run(&store, JobId::Import(mac.id), result(Outcome::Succeeded)).await;
    let mac = template(&ada, mac.id, "mac");
    store.create_template(&mac).await.unwrap();

    let (name, nothing) = (|text| TemplateName::parse(text).unwrap(), UpdateTemplate::default());
    let taken = store.update_template(linux.id, Some(&name("MAC")), &nothing, at(1)).await;
    assert!(matches!(taken, Err(UpdateTemplateError::NameTaken(_))));
    let capitals = store.update_template(linux.id, Some(&name("Linux")), &nothing, at(1)).await.unwrap();
    assert_eq!(capitals.name.as_str(), "Linux");
    store.update_template(linux.id, Some(&name("debian")), &nothing, at(2)).await.unwrap();
    assert_eq!(store.template_by_name(&name("linux")).await.unwrap(), None);
    assert_eq!(store.template_by_name(&name("Debian")).await.unwrap().unwrap().id, linux.id);
    store.update_template(mac.id, Some(&name("linux")), &nothing, at(3)).await.unwrap();
    let names: Vec<_> = store.templates().await.unwrap().into_iter().map(|template| template.name.to_string()).collect();
    assert_eq!(names, ["debian", "linux"]);
}

#[tokio::test]
async fn settings_that_will_not_do_together_change_nothing() {
    let World { store, template, .. } = World::new().await;
    let hours = |hours: i64| Some(hours * 3_600_000);
    let fine = UpdateTemplate { max_ttl_ms: hours(8), replacement_consent: Some(true), ..UpdateTemplate::default() };
    store.update_template(template.id, None, &fine, at(1)).await.unwrap();
    let longer = UpdateTemplate { default_ttl_ms: hours(9), ..UpdateTemplate::default() };
    let refused = store.update_template(template.id, None, &longer, at(2)).await;
    assert!(matches!(refused, Err(UpdateTemplateError::Settings(error)) if error.field == "default_ttl_ms"));
    let settings = store.template(template.id).await.unwrap().unwrap().settings;
    assert_eq!((settings.max_ttl_ms, settings.default_ttl_ms, settings.replacement_consent), (8 * 3_600_000, 0, true));
}

/// Another imported version of the world's template.
async fn imported(world: &World, name: &str) -> VersionId {
    let version = version(&world.ada, Some(world.template.id), name);
    world.store.create_version(&version).await.unwrap();
    run(&world.store, JobId::Import(version.id), result(Outcome::Succeeded)).await;
    version.id
}

#[tokio::test]
async fn an_archived_version_is_never_the_active_one() {
    let world = World::new().await;
    let (store, template) = (&world.store, &world.template);
    let (one, two) = (template.active_version, imported(&world, "two").await);
    assert!(matches!(store.archive_version(one, true, at(1)).await, Err(ArchiveVersionError::Active(name)) if name == "one"));
    assert!(store.archive_version(two, true, at(1)).await.unwrap().archived);
    assert!(matches!(store.activate_version(template.id, two, at(2)).await, Err(ActivateError::Archived(name)) if name == "two"));
    assert!(!store.archive_version(two, false, at(3)).await.unwrap().archived);
    let now = store.activate_version(template.id, two, at(4)).await.unwrap();
    assert_eq!((now.active_version, now.previous_version), (two, Some(one)));
    let again = store.activate_version(template.id, two, at(5)).await.unwrap();
    assert_eq!(again.previous_version, Some(one), "what is active already changes nothing");
    assert!(store.archive_version(one, true, at(6)).await.unwrap().archived);
    let stray = version(&world.ada, None, "stray");
    store.create_version(&stray).await.unwrap();
    assert!(matches!(store.archive_version(stray.id, true, at(7)).await, Err(ArchiveVersionError::Missing(_))));
}

#[tokio::test]
async fn of_archiving_and_activating_at_once_one_is_refused() {
    let world = World::new().await;
    let (store, template) = (&world.store, &world.template);
    for round in 0..20 {
        let one = store.template(template.id).await.unwrap().unwrap().active_version;
        let two = imported(&world, &format!("round-{round}")).await;
        let (archived, activated) =
            tokio::join!(store.archive_version(two, true, at(1)), store.activate_version(template.id, two, at(1)));
        assert!(archived.is_ok() != activated.is_ok(), "{archived:?} {activated:?}");
        let active = store.template(template.id).await.unwrap().unwrap().active_version;
        assert_eq!(active, if activated.is_ok() { two } else { one });
    }
}

#[tokio::test]
async fn only_what_nothing_uses_is_put_away() {
    let world = World::new().await;
    let (store, template) = (&world.store, world.template.id);
    world.running("dev", result(Outcome::Succeeded)).await; // Of version one.
    let (two, three) = (imported(&world, "two").await, imported(&world, "three").await);
    let broken = version(&world.ada, Some(template), "broken");
    store.create_version(&broken).await.unwrap();
    run(store, JobId::Import(broken.id), failed("syntax error")).await;
    let waiting = version(&world.ada, Some(template), "waiting");
    store.create_version(&waiting).await.unwrap();
    store.activate_version(template, three, at(1)).await.unwrap();
    assert_eq!(store.archive_unused(template, false, at(2)).await.unwrap(), [broken.id]);
    assert_eq!(store.archive_unused(template, true, at(3)).await.unwrap(), [two]);
    assert_eq!(store.archive_unused(template, true, at(4)).await.unwrap(), []);
}

#[tokio::test]
async fn a_version_takes_a_free_name_and_its_old_one_is_free_then() {
    let world = World::new().await;
    let (store, template) = (&world.store, &world.template);
    let two = imported(&world, "two").await;
    let taken = store.update_version(two, Some("ONE"), None, at(1)).await;
    assert!(matches!(taken, Err(UpdateVersionError::NameTaken(_))), "{taken:?}");
    assert_eq!(store.update_version(two, Some("Two"), Some("why"), at(1)).await.unwrap().message, "why");
    let renamed = store.update_version(two, Some("stable"), None, at(2)).await.unwrap();
    assert_eq!((renamed.name.as_str(), renamed.message.as_str()), ("stable", "why"));
    assert_eq!(store.version_by_name(template.id, "two").await.unwrap(), None);
    assert_eq!(store.version_by_name(template.id, "Stable").await.unwrap().unwrap().id, two);
    imported(&world, "two").await;
}
