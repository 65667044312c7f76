//! Blobs at rest: each is encrypted under a key of the data directory, so that a copy of the disk without its keys shows nothing.
//!
//! ```text
//! "BERTHBL1" | id of the key, 8 bytes | salt, 32 bytes | ciphertext | tag, 16 bytes
//! ```
//!
//! A blob's own key is HKDF-SHA-256 (RFC 5869) of the deployment's key and the random salt, and is used once, with ChaCha20-Poly1305
//! (RFC 8439) and a nonce of zeros: no count of blobs makes a nonce come twice. The blob's name and the header are authenticated with
//! it, so a blob that was swapped for another is damaged. Blobs of before this was done begin otherwise and are read as they are.
//!
//! Keys are files `blob-1`, `blob-2`, ... of 32 random bytes. The one with the highest number seals, all of them open: to rotate, add
//! the next one and start again. `blobs/.sealed` names the keys that were ever used; a start without one of them is refused.

use std::{
    collections::BTreeMap,
    fs::{self, File, OpenOptions},
    io::{self, ErrorKind, Write},
    path::{Path, PathBuf},
};

use ring::{
    aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey},
    hkdf,
    rand::{SecureRandom, SystemRandom},
};
use sha2::{Digest, Sha256};

const MAGIC: &[u8; 8] = b"BERTHBL1";
const KEY_BYTES: usize = 32;
const ID_BYTES: usize = 8;
const SALT_BYTES: usize = 32;
const HEADER_BYTES: usize = MAGIC.len() + ID_BYTES + SALT_BYTES;
/// What the key files' names begin with; a number follows.
const FILE_PREFIX: &str = "blob-";
/// Beside the blobs: a line per key that was ever used, its id and its file's name.
const USED_FILE: &str = ".sealed";

/// Why the keys cannot be used. Nothing was written then.
#[derive(Debug, thiserror::Error)]
pub enum SealError {
    /// A key that blobs are sealed with is not there, or another file has its name.
    #[error("the key file {} is missing or not the one that blobs in this data directory are sealed with", .file.display())]
    Missing {
        /// The file that had it.
        file: PathBuf,
    },
    /// A key file is not one.
    #[error("the key file {} does not hold exactly {KEY_BYTES} bytes", .0.display())]
    Malformed(PathBuf),
    /// A key file or a directory cannot be read or written.
    #[error("cannot use {}: {source}", .path.display())]
    Disk {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// Why a blob was not opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum OpenFailure {
    /// Its check does not hold.
    Damaged,
    /// There is no key of this id.
    UnknownKey(String),
}

/// Names a key without telling it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct KeyId([u8; ID_BYTES]);

impl KeyId {
    fn of(key: &[u8; KEY_BYTES]) -> Self {
        let digest = Sha256::new_with_prefix(b"berth blob key id").chain_update(key).finalize();
        let mut id = [0; ID_BYTES];
        id.iter_mut().zip(digest).for_each(|(into, from)| *into = from);
        Self(id)
    }

    fn text(self) -> String {
        hex::encode(self.0)
    }
}

/// The keys of a data directory.
pub(crate) struct Keys {
    all: BTreeMap<KeyId, [u8; KEY_BYTES]>,
    newest: KeyId,
}

impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Keys({} [redacted])", self.all.len())
    }
}

impl Keys {
    /// Reads the keys in `directory`, makes the first one if there never was any, and checks that none is missing that blobs in `root`
    /// are sealed with.
    pub(crate) fn open(directory: &Path, root: &Path) -> Result<Self, SealError> {
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |source| SealError::Disk { path, source }
        };
        make_private(directory).map_err(failed(directory))?;
        let marker = root.join(USED_FILE);
        let used = used(&marker).map_err(failed(&marker))?;
        let mut files = files(directory)?;
        if files.is_empty() && used.is_empty() {
            let path = directory.join(format!("{FILE_PREFIX}1"));
            files.insert(1, (path.clone(), make(&path).map_err(failed(&path))?));
        }
        if let Some((_, name)) = used.iter().find(|(id, _)| !files.values().any(|(_, key)| KeyId::of(key).text() == **id)) {
            return Err(SealError::Missing { file: directory.join(name) });
        }
        let Some((path, newest)) = files.values().next_back() else {
            return Err(SealError::Missing { file: directory.join(format!("{FILE_PREFIX}1")) });
        };
        let newest = KeyId::of(newest);
        if !used.contains_key(&newest.text()) {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            note(&marker, &format!("{} {name}\n", newest.text())).map_err(failed(&marker))?;
        }
        Ok(Self { all: files.into_values().map(|(_, key)| (KeyId::of(&key), key)).collect(), newest })
    }

    /// One key that nobody else has and that is nowhere kept.
    pub(crate) fn fresh() -> io::Result<Self> {
        let key = random()?;
        let newest = KeyId::of(&key);
        Ok(Self { all: BTreeMap::from([(newest, key)]), newest })
    }

    /// A blob as it is kept under `name`.
    pub(crate) fn seal(&self, name: &str, plain: &[u8]) -> io::Result<Vec<u8>> {
        let salt: [u8; SALT_BYTES] = random()?;
        let mut sealed = Vec::with_capacity(HEADER_BYTES + plain.len() + CHACHA20_POLY1305.tag_len());
        sealed.extend_from_slice(MAGIC);
        sealed.extend_from_slice(&self.newest.0);
        sealed.extend_from_slice(&salt);
        let aad = authenticated(&sealed, name);
        sealed.extend_from_slice(plain);
        let unsealed = || io::Error::other("the cipher refused");
        let key = self.all.get(&self.newest).and_then(|key| blob_key(key, &salt)).ok_or_else(unsealed)?;
        let (_, body) = sealed.split_at_mut_checked(HEADER_BYTES).ok_or_else(unsealed)?;
        let tag = key.seal_in_place_separate_tag(nonce(), Aad::from(aad), body).map_err(|_| unsealed())?;
        sealed.extend_from_slice(tag.as_ref());
        Ok(sealed)
    }

    /// The blob that was kept under `name` as these bytes.
    pub(crate) fn open_blob(&self, name: &str, mut sealed: Vec<u8>) -> Result<Vec<u8>, OpenFailure> {
        if !sealed.starts_with(MAGIC) {
            return Ok(sealed);
        }
        let (header, body) = sealed.split_at_mut_checked(HEADER_BYTES).ok_or(OpenFailure::Damaged)?;
        let (id, salt) = parts(header).ok_or(OpenFailure::Damaged)?;
        let key = self.all.get(&id).ok_or_else(|| OpenFailure::UnknownKey(id.text()))?;
        let key = blob_key(key, salt).ok_or(OpenFailure::Damaged)?;
        let plain = key.open_in_place(nonce(), Aad::from(authenticated(header, name)), body);
        let length = plain.map_err(|_| OpenFailure::Damaged)?.len();
        sealed.drain(..HEADER_BYTES);
        sealed.truncate(length);
        Ok(sealed)
    }
}

fn parts(header: &[u8]) -> Option<(KeyId, &[u8])> {
    let (id, salt) = header.get(MAGIC.len()..)?.split_at_checked(ID_BYTES)?;
    Some((KeyId(id.try_into().ok()?), salt))
}

/// What a blob's check covers besides its content: the header and the name.
fn authenticated(header: &[u8], name: &str) -> Vec<u8> {
    [header, name.as_bytes()].concat()
}

fn blob_key(key: &[u8; KEY_BYTES], salt: &[u8]) -> Option<LessSafeKey> {
    let derived = hkdf::Salt::new(hkdf::HKDF_SHA256, salt).extract(key);
    let derived = derived.expand(&[b"berth blob"], &CHACHA20_POLY1305).ok()?;
    Some(LessSafeKey::new(UnboundKey::from(derived)))
}

/// Each derived key is used once.
fn nonce() -> Nonce {
    Nonce::assume_unique_for_key([0; NONCE_LEN])
}

pub(crate) fn random<const N: usize>() -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    SystemRandom::new().fill(&mut bytes).map_err(|_| io::Error::other("the system gives no randomness"))?;
    Ok(bytes)
}

/// The key files by their numbers.
fn files(directory: &Path) -> Result<BTreeMap<u64, (PathBuf, [u8; KEY_BYTES])>, SealError> {
    let failed = |path: &Path, source| SealError::Disk { path: path.to_owned(), source };
    let mut files = BTreeMap::new();
    for entry in fs::read_dir(directory).map_err(|source| failed(directory, source))? {
        let path = entry.map_err(|source| failed(directory, source))?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let Some(number) = name.strip_prefix(FILE_PREFIX).and_then(|number| number.parse().ok()) else { continue };
        let key = fs::read(&path).map_err(|source| failed(&path, source))?;
        let key = key.try_into().map_err(|_| SealError::Malformed(path.clone()))?;
        files.insert(number, (path, key));
    }
    Ok(files)
}

/// The ids of the keys that were used, with the names of their files.
fn used(marker: &Path) -> io::Result<BTreeMap<String, String>> {
    let text = match fs::read_to_string(marker) {
        Err(error) if error.kind() == ErrorKind::NotFound => String::new(),
        text => text?,
    };
    let pair = |line: &str| line.split_once(' ').map(|(id, name)| (id.to_owned(), name.trim().to_owned()));
    Ok(text.lines().filter_map(pair).collect())
}

/// Adds a line; it is on the disk before any blob is sealed with the key that it names.
fn note(marker: &Path, line: &str) -> io::Result<()> {
    let mut file = private().append(true).open(marker)?;
    file.write_all(line.as_bytes())?;
    file.sync_all()?;
    marker.parent().map_or(Ok(()), |parent| File::open(parent)?.sync_all())
}

/// Writes a key beside its place and renames, so that it is whole or not there.
fn make(path: &Path) -> io::Result<[u8; KEY_BYTES]> {
    let key = random()?;
    let beside = path.with_extension("new");
    let mut file = private().truncate(true).open(&beside)?;
    file.write_all(&key)?;
    file.sync_all()?;
    fs::rename(&beside, path)?;
    path.parent().map_or(Ok(()), |parent| File::open(parent)?.sync_all())?;
    Ok(key)
}

/// Opens for writing what only its owner may read.
fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.write(true).create(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options
}

fn make_private(directory: &Path) -> io::Result<()> {
    fs::create_dir_all(directory)?;
    #[cfg(unix)]
    fs::set_permissions(directory, std::os::unix::fs::PermissionsExt::from_mode(0o700))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn directory() -> (tempfile::TempDir, PathBuf, PathBuf) {
        let place = tempfile::tempdir().unwrap();
        let (keys, root) = (place.path().join("keys"), place.path().join("blobs"));
        fs::create_dir(&root).unwrap();
        (place, keys, root)
    }

    #[test]
    fn a_sealed_blob_shows_nothing_and_opens_under_its_own_name_only() {
        let keys = Keys::fresh().unwrap();
        let sealed = keys.seal("state/a/1", b"canary").unwrap();
        assert!(!sealed.windows(6).any(|window| window == b"canary"));
        assert_ne!(sealed, keys.seal("state/a/1", b"canary").unwrap(), "the same blob twice does not look the same");
        assert_eq!(keys.open_blob("state/a/1", sealed.clone()).unwrap(), b"canary");
        assert_eq!(keys.open_blob("state/a/2", sealed.clone()), Err(OpenFailure::Damaged));
        for position in 0..sealed.len() {
            let mut wrong = sealed.clone();
            wrong[position] ^= 1;
            assert_ne!(keys.open_blob("state/a/1", wrong).ok().as_deref(), Some(b"canary".as_slice()), "byte {position}");
        }
        for length in MAGIC.len()..sealed.len() {
            assert!(keys.open_blob("state/a/1", sealed[..length].to_vec()).is_err(), "{length} bytes");
        }
        assert_eq!(keys.open_blob("state/a/0", b"{\"version\": 4}".to_vec()).unwrap(), b"{\"version\": 4}", "of before");
    }

    #[test]
    fn a_new_key_seals_and_the_old_one_still_opens() {
        let (_place, directory, root) = directory();
        let first = Keys::open(&directory, &root).unwrap();
        let sealed = first.seal("a", b"one").unwrap();
        fs::write(directory.join("blob-2"), [7; KEY_BYTES]).unwrap();
        let second = Keys::open(&directory, &root).unwrap();
        assert_eq!(second.open_blob("a", sealed.clone()).unwrap(), b"one");
        let newer = second.seal("a", b"two").unwrap();
        assert!(matches!(first.open_blob("a", newer), Err(OpenFailure::UnknownKey(_))));
    }

    #[test]
    fn a_missing_or_other_key_is_refused_before_anything_is_written() {
        let (_place, directory, root) = directory();
        Keys::open(&directory, &root).unwrap();
        let file = directory.join("blob-1");
        let key = fs::read(&file).unwrap();
        fs::remove_file(&file).unwrap();
        assert!(matches!(Keys::open(&directory, &root), Err(SealError::Missing { file: named }) if named == file));
        assert!(!file.exists(), "a lost key is never replaced silently");
        fs::write(&file, [7; KEY_BYTES]).unwrap();
        assert!(matches!(Keys::open(&directory, &root), Err(SealError::Missing { .. })));
        fs::write(&file, [7; 3]).unwrap();
        assert!(matches!(Keys::open(&directory, &root), Err(SealError::Malformed(_))));
        fs::write(&file, key).unwrap();
        Keys::open(&directory, &root).unwrap();
    }

    #[cfg(unix)]
    #[test]
    fn keys_are_for_their_owner_only() {
        use std::os::unix::fs::PermissionsExt;
        let (_place, directory, root) = directory();
        Keys::open(&directory, &root).unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&directory), mode(&directory.join("blob-1"))), (0o700, 0o600));
    }
}
