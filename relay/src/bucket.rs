//! The relay's part of the bucket: a handful of small objects below `relay/`, each replaced only by someone who knows what it replaces.

use aws_sdk_s3::{
    Client,
    error::{DisplayErrorContext, SdkError},
    primitives::ByteStream,
    types::ServerSideEncryption,
};
use berth_aws::Aws;
use serde::{Serialize, de::DeserializeOwned};

/// All keys begin with this; the relay's role reaches no other.
const PREFIX: &str = "relay/";
/// The largest object that is read; a certificate chain has some 5 kB.
const OBJECT_BYTES_MAX: i64 = 256 * 1024;

/// A bucket, and the key that seals what is put there.
#[derive(Debug, Clone)]
pub(crate) struct Bucket {
    client: Client,
    name: String,
    kms_key: Option<String>,
}

/// An object as it was read: its value, and the tag by which it can be replaced.
#[derive(Debug, Clone)]
pub(crate) struct Object<T> {
    pub(crate) value: T,
    pub(crate) tag: String,
}

/// Why the bucket cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BucketError {
    #[error("cannot read s3://{bucket}/{key}: {reason}")]
    Read { bucket: String, key: String, reason: String },
    #[error("cannot write s3://{bucket}/{key}: {reason}")]
    Write { bucket: String, key: String, reason: String },
    /// Expected: someone else was faster. Read it again.
    #[error("{0} was changed by someone else")]
    Changed(String),
}

impl Bucket {
    /// No request is made.
    pub(crate) fn new(aws: &Aws, name: &str, kms_key: Option<&str>) -> Self {
        let config = aws_sdk_s3::config::Builder::from(&aws.service("S3")).force_path_style(aws.is_elsewhere("S3")).build();
        Self { client: Client::from_conf(config), name: name.to_owned(), kms_key: kms_key.map(str::to_owned) }
    }

    /// An object, if there is one. One that cannot be parsed is an error, not a missing one: it must not be replaced unseen.
    pub(crate) async fn get<T: DeserializeOwned>(&self, name: &str) -> Result<Option<Object<T>>, BucketError> {
        let key = format!("{PREFIX}{name}");
        let failed = |reason: String| BucketError::Read { bucket: self.name.clone(), key: key.clone(), reason };
        let got = match self.client.get_object().bucket(&self.name).key(&key).send().await {
            Ok(got) => got,
            Err(error) if error.as_service_error().is_some_and(|error| error.is_no_such_key()) => return Ok(None),
            Err(error) => return Err(failed(DisplayErrorContext(error).to_string())),
        };
        if got.content_length().is_none_or(|length| length > OBJECT_BYTES_MAX) {
            return Err(failed(format!("it is larger than {OBJECT_BYTES_MAX} bytes")));
        }
        let tag = got.e_tag().unwrap_or_default().to_owned();
        let bytes = got.body.collect().await.map_err(|error| failed(error.to_string()))?.into_bytes();
        let value = serde_json::from_slice(&bytes).map_err(|error| failed(error.to_string()))?;
        Ok(Some(Object { value, tag }))
    }

    /// Puts an object in the place of the one with this tag, or where there was none. Returns the new tag.
    pub(crate) async fn put<T: Serialize>(&self, name: &str, value: &T, instead_of: Option<&str>) -> Result<String, BucketError> {
        let key = format!("{PREFIX}{name}");
        let failed = |reason: String| BucketError::Write { bucket: self.name.clone(), key: key.clone(), reason };
        let bytes = serde_json::to_vec(value).map_err(|error| failed(error.to_string()))?;
        let mut put = self.client.put_object().bucket(&self.name).key(&key).body(ByteStream::from(bytes));
        put = put.content_type("application/json");
        put = match instead_of {
            Some(tag) => put.if_match(tag),
            None => put.if_none_match("*"),
        };
        if let Some(kms_key) = &self.kms_key {
            put = put.server_side_encryption(ServerSideEncryption::AwsKms).ssekms_key_id(kms_key);
        }
        match put.send().await {
            Ok(done) => Ok(done.e_tag().unwrap_or_default().to_owned()),
            Err(error) if is_conflict(&error) => Err(BucketError::Changed(key)),
            Err(error) => Err(failed(DisplayErrorContext(error).to_string())),
        }
    }
}

/// 412: it is not what we read. 409: someone writes at this very moment. 404: it was deleted since.
fn is_conflict<E>(error: &SdkError<E>) -> bool {
    error.raw_response().is_some_and(|response| matches!(response.status().as_u16(), 404 | 409 | 412))
}
