//! Blobs as objects of S3, encrypted with the deployment's KMS key.

use std::{sync::OnceLock, time::Duration};

use aws_sdk_s3::{
    Client,
    error::{DisplayErrorContext, ProvideErrorMetadata, SdkError},
    operation::put_object::builders::PutObjectFluentBuilder,
    presigning::PresigningConfig,
    primitives::ByteStream,
    types::ServerSideEncryption,
};
use base64::{Engine, engine::general_purpose::STANDARD};
use berth_aws::Aws;
use bytes::Bytes;

use super::{BlobError, Place};

/// How often an object is read whose bytes stop coming: the SDK asks again only until they begin.
const READS_MAX: u32 = 3;
/// How often a write is made that met another one of the same key.
const CONFLICTS_MAX: u32 = 3;

/// How long bytes may be put at a signed address.
const UPLOAD_PATIENCE: Duration = Duration::from_secs(15 * 60);
/// How long a signed address answers; what began within it goes on.
const DOWNLOAD_PATIENCE: Duration = Duration::from_secs(5 * 60);

/// A bucket of blobs. Its client is made at first use: most requests need no blob.
#[derive(Debug)]
pub struct Bucket {
    aws: Aws,
    name: String,
    kms_key: Option<String>,
    client: OnceLock<Client>,
}

impl Bucket {
    /// The bucket called `name`; `kms_key` encrypts what is put there, or the bucket's own rule when there is none. No request.
    #[must_use]
    pub const fn new(aws: Aws, name: String, kms_key: Option<String>) -> Self {
        Self { aws, name, kms_key, client: OnceLock::new() }
    }

    fn client(&self) -> &Client {
        self.client.get_or_init(|| {
            let config = aws_sdk_s3::config::Builder::from(&self.aws.service("S3"));
            Client::from_conf(config.force_path_style(self.aws.is_elsewhere("S3")).build())
        })
    }

    pub(super) async fn put(&self, key: &str, bytes: Bytes) -> Result<(), BlobError> {
        let put = self.encrypted(self.client().put_object().bucket(&self.name).key(key).body(ByteStream::from(bytes)));
        put.send().await.map(drop).map_err(|error| self.failed("PutObject", key, &error))
    }

    pub(super) async fn put_new(&self, key: &str, bytes: Bytes) -> Result<bool, BlobError> {
        let mut attempt = 1;
        loop {
            let put = self.client().put_object().bucket(&self.name).key(key).body(ByteStream::from(bytes.clone()));
            let error = match self.encrypted(put.if_none_match("*")).send().await {
                Ok(_) => return Ok(true),
                Err(error) => error,
            };
            match error.code() {
                Some("PreconditionFailed") => return Ok(false),
                // Another write of this key is under way: which one was first shows on the next try.
                Some("ConditionalRequestConflict") if attempt < CONFLICTS_MAX => attempt += 1,
                _ => return Err(self.failed("PutObject", key, &error)),
            }
        }
    }

    pub(super) async fn get(&self, key: &str) -> Result<Option<Bytes>, BlobError> {
        let mut attempt = 1;
        loop {
            let answer = match self.client().get_object().bucket(&self.name).key(key).send().await {
                Ok(answer) => answer,
                Err(error) if error.code() == Some("NoSuchKey") => return Ok(None),
                Err(error) => return Err(self.failed("GetObject", key, &error)),
            };
            match answer.body.collect().await {
                Ok(bytes) => return Ok(Some(bytes.into_bytes())),
                Err(_) if attempt < READS_MAX => attempt += 1,
                Err(error) => return Err(self.failed_with("GetObject", key, DisplayErrorContext(error).to_string())),
            }
        }
    }

    pub(super) async fn delete(&self, key: &str) -> Result<(), BlobError> {
        let deleted = self.client().delete_object().bucket(&self.name).key(key).send().await;
        deleted.map(drop).map_err(|error| self.failed("DeleteObject", key, &error))
    }

    /// Signs for one `PUT` of bytes of this length and SHA-256: S3 refuses any others. No request.
    pub(super) async fn place(&self, key: &str, size: u64, sha256: [u8; 32]) -> Result<Place, BlobError> {
        let put = self.client().put_object().bucket(&self.name).key(key).content_length(i64::try_from(size).unwrap_or(i64::MAX));
        let put = put.checksum_sha256(STANDARD.encode(sha256));
        let signed = put.presigned(self.for_a_while(key, UPLOAD_PATIENCE)?).await;
        let signed = signed.map_err(|error| self.failed("PutObject", key, &error))?;
        let headers = signed.headers().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        Ok(Place { url: signed.uri().to_owned(), headers })
    }

    /// Signs for a `GET` that is answered with this media type. No request.
    pub(super) async fn address(&self, key: &str, media_type: &str) -> Result<String, BlobError> {
        let get = self.client().get_object().bucket(&self.name).key(key).response_content_type(media_type);
        let signed = get.presigned(self.for_a_while(key, DOWNLOAD_PATIENCE)?).await;
        Ok(signed.map_err(|error| self.failed("GetObject", key, &error))?.uri().to_owned())
    }

    fn for_a_while(&self, key: &str, patience: Duration) -> Result<PresigningConfig, BlobError> {
        PresigningConfig::expires_in(patience).map_err(|error| self.failed_with("presigning", key, error.to_string()))
    }

    fn encrypted(&self, put: PutObjectFluentBuilder) -> PutObjectFluentBuilder {
        match &self.kms_key {
            Some(id) => put.server_side_encryption(ServerSideEncryption::AwsKms).ssekms_key_id(id),
            None => put,
        }
    }

    /// S3 says "access denied" also of an object that is not there, to who may not list the bucket.
    fn failed<E, R>(&self, operation: &'static str, key: &str, error: &SdkError<E, R>) -> BlobError
    where
        E: std::error::Error + ProvideErrorMetadata + 'static,
        R: std::fmt::Debug + 'static,
    {
        let hint = match error.code() {
            Some("AccessDenied") => {
                " (the role needs s3:GetObject, s3:PutObject and s3:ListBucket here, and kms:GenerateDataKey and kms:Decrypt with its key)"
            }
            _ => "",
        };
        self.failed_with(operation, key, format!("{}{hint}", DisplayErrorContext(error)))
    }

    fn failed_with(&self, operation: &'static str, key: &str, cause: String) -> BlobError {
        BlobError::Bucket { bucket: self.name.clone(), operation, key: key.to_owned(), cause }
    }
}
