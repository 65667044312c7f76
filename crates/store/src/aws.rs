//! The store on AWS: a table of DynamoDB and a bucket of S3 that the deployment's template made.

use std::sync::Arc;

use berth_aws::Aws;

use crate::{
    Blobs, Store, TableError,
    blob::Bucket,
    session::Owners,
    table::{Key, Table},
};

/// Where a deployment's store is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AwsStore {
    /// The table's name.
    pub table: String,
    /// The bucket's name.
    pub bucket: String,
    /// The KMS key that encrypts the bucket's objects, by its id or ARN; the bucket's own rule does when there is none.
    pub kms_key: Option<String>,
}

impl Store {
    /// The store of a deployment on AWS. Makes no request; see [`Store::warm`].
    #[must_use]
    pub fn open_aws(aws: &Aws, place: AwsStore) -> Self {
        let AwsStore { table, bucket, kms_key } = place;
        let blobs = Blobs::Bucket(Arc::new(Bucket::new(aws.clone(), bucket, kms_key)));
        let client = aws_sdk_dynamodb::Client::new(&aws.service("DYNAMODB"));
        let table = Table::new(client, table, blobs.clone(), None);
        Self { table: Arc::new(table), blobs, sessions: Arc::new(Owners::default()) }
    }

    /// Makes the table's connection, so that the first request finds it: a Lambda's start has more of the processor than its
    /// requests. One read of a row that is there or not, half a unit.
    ///
    /// # Errors
    /// When the table does not answer, as it will not to any other request then.
    pub async fn warm(&self) -> Result<(), TableError> {
        self.table.touch(&Key::new("FIRST", "FIRST")).await
    }
}
