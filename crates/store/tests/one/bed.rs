//! What the stories' stores are made of: the engine inside the process or, where `BERTH_STORE_BED` says where one is, an AWS of its own.

use super::fixture::World;
use aws_sdk_s3::types::{BucketLocationConstraint, CreateBucketConfiguration};
use berth_aws::Aws;
use berth_store::{AwsStore, Store};
use std::sync::atomic::{AtomicU32, Ordering};

/// The variable that holds the bed's URL.
pub(crate) const BED: &str = "BERTH_STORE_BED";
const REGION: &str = "eu-central-1";

impl World {
    /// On an empty store.
    pub(crate) async fn new() -> Self {
        Self::on(store().await).await
    }
}

/// An empty store.
#[allow(clippy::disallowed_methods)] // This is where a test learns what it runs on.
pub(crate) async fn store() -> Store {
    match std::env::var(BED) {
        Ok(url) => on_aws(&url).await,
        Err(_) => Store::memory().await.unwrap(),
    }
}

/// An empty store at this address of AWS's API, of a table and a bucket of its own.
pub(crate) async fn on_aws(url: &str) -> Store {
    static NEXT: AtomicU32 = AtomicU32::new(1);
    let name = format!("berth-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
    let aws = Aws::from_env(|name| {
        let value = match name {
            "AWS_ENDPOINT_URL" => url,
            "AWS_REGION" => REGION,
            "AWS_ACCESS_KEY_ID" | "AWS_SECRET_ACCESS_KEY" => "testing",
            _ => return None,
        };
        Some(value.to_owned())
    });
    let aws = aws.unwrap();
    let s3 = aws_sdk_s3::config::Builder::from(&aws.service("S3")).force_path_style(true).build();
    let here = CreateBucketConfiguration::builder().location_constraint(BucketLocationConstraint::from(REGION)).build();
    let made = aws_sdk_s3::Client::from_conf(s3).create_bucket().bucket(&name).create_bucket_configuration(here).send().await;
    made.unwrap();
    let store = Store::open_aws(&aws, AwsStore { table: name.clone(), bucket: name, kms_key: None });
    store.make_table().await.unwrap();
    store.warm().await.unwrap();
    store
}
