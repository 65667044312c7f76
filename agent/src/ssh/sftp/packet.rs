//! SFTP packets: taking requests apart and putting replies together. Names and paths are bytes, as they are on disk.

use std::ffi::{OsStr, OsString};
use std::fs::Metadata;
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use rustix::io::Errno;

const ATTR_SIZE: u32 = 1;
const ATTR_UIDGID: u32 = 2;
const ATTR_PERMISSIONS: u32 = 4;
const ATTR_ACMODTIME: u32 = 8;
const ATTR_EXTENDED: u32 = 0x8000_0000;

/// The kinds of reply (draft section 3).
pub(super) mod kind {
    pub(in super::super) const VERSION: u8 = 2;
    pub(in super::super) const STATUS: u8 = 101;
    pub(in super::super) const HANDLE: u8 = 102;
    pub(in super::super) const DATA: u8 = 103;
    pub(in super::super) const NAME: u8 = 104;
    pub(in super::super) const ATTRS: u8 = 105;
    pub(in super::super) const EXTENDED_REPLY: u8 = 201;
}

/// Why a request was not carried out (draft section 7).
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) code: u32,
    pub(super) text: String,
}

impl Refusal {
    pub(super) const OK: u32 = 0;
    pub(super) const EOF: u32 = 1;
    pub(super) const NO_SUCH_FILE: u32 = 2;
    pub(super) const PERMISSION_DENIED: u32 = 3;
    pub(super) const FAILURE: u32 = 4;
    pub(super) const BAD_MESSAGE: u32 = 5;
    pub(super) const UNSUPPORTED: u32 = 8;

    pub(super) fn new(code: u32, text: &str) -> Refusal {
        Refusal { code, text: text.to_owned() }
    }

    pub(super) fn end_of_file() -> Refusal {
        Refusal::new(Refusal::EOF, "end of file")
    }

    pub(super) fn bad_message() -> Refusal {
        Refusal::new(Refusal::BAD_MESSAGE, "bad message")
    }

    pub(super) fn no_such_handle() -> Refusal {
        Refusal::new(Refusal::FAILURE, "no such handle")
    }
}

/// The same classes as OpenSSH's `errno_to_portable`.
impl From<io::Error> for Refusal {
    fn from(error: io::Error) -> Refusal {
        let code = match error.raw_os_error().map(Errno::from_raw_os_error) {
            Some(Errno::NOENT | Errno::NOTDIR | Errno::BADF | Errno::LOOP) => Refusal::NO_SUCH_FILE,
            Some(Errno::PERM | Errno::ACCESS | Errno::FAULT) => Refusal::PERMISSION_DENIED,
            Some(Errno::NAMETOOLONG | Errno::INVAL) => Refusal::BAD_MESSAGE,
            Some(Errno::NOSYS) => Refusal::UNSUPPORTED,
            _ => Refusal::FAILURE,
        };
        Refusal { code, text: error.to_string() }
    }
}

impl From<Errno> for Refusal {
    fn from(errno: Errno) -> Refusal {
        io::Error::from(errno).into()
    }
}

/// Reads a request's fields in order.
pub(super) struct Fields<'a> {
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    pub(super) fn new(rest: &'a [u8]) -> Fields<'a> {
        Fields { rest }
    }

    pub(super) fn u8(&mut self) -> Result<u8, Refusal> {
        let (first, rest) = self.rest.split_first().ok_or_else(Refusal::bad_message)?;
        self.rest = rest;
        Ok(*first)
    }

    pub(super) fn u32(&mut self) -> Result<u32, Refusal> {
        let (first, rest) = self.rest.split_first_chunk::<4>().ok_or_else(Refusal::bad_message)?;
        self.rest = rest;
        Ok(u32::from_be_bytes(*first))
    }

    pub(super) fn u64(&mut self) -> Result<u64, Refusal> {
        let (first, rest) = self.rest.split_first_chunk::<8>().ok_or_else(Refusal::bad_message)?;
        self.rest = rest;
        Ok(u64::from_be_bytes(*first))
    }

    pub(super) fn bytes(&mut self) -> Result<&'a [u8], Refusal> {
        let length = usize::try_from(self.u32()?).map_err(|_| Refusal::bad_message())?;
        let (first, rest) = self.rest.split_at_checked(length).ok_or_else(Refusal::bad_message)?;
        self.rest = rest;
        Ok(first)
    }

    pub(super) fn path(&mut self) -> Result<PathBuf, Refusal> {
        let bytes = self.bytes()?;
        if bytes.contains(&0) {
            return Err(Refusal::bad_message());
        }
        Ok(PathBuf::from(OsString::from_vec(bytes.to_vec())))
    }

    pub(super) fn attributes(&mut self) -> Result<Attributes, Refusal> {
        let flags = self.u32()?;
        let mut found = Attributes::default();
        if flags & ATTR_SIZE != 0 {
            found.size = Some(self.u64()?);
        }
        if flags & ATTR_UIDGID != 0 {
            found.owner = Some((self.u32()?, self.u32()?));
        }
        if flags & ATTR_PERMISSIONS != 0 {
            found.mode = Some(self.u32()?);
        }
        if flags & ATTR_ACMODTIME != 0 {
            found.times = Some((self.u32()?, self.u32()?));
        }
        if flags & ATTR_EXTENDED != 0 {
            for _ in 0..self.u32()? {
                self.bytes()?;
                self.bytes()?;
            }
        }
        Ok(found)
    }
}

/// What a client wants a file to be, or what it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Attributes {
    pub(super) size: Option<u64>,
    /// User and group.
    pub(super) owner: Option<(u32, u32)>,
    pub(super) mode: Option<u32>,
    /// Access and modification, in seconds since 1970.
    pub(super) times: Option<(u32, u32)>,
}

impl From<&Metadata> for Attributes {
    fn from(metadata: &Metadata) -> Attributes {
        let seconds = |time: i64| u32::try_from(time.max(0)).unwrap_or(u32::MAX);
        Attributes {
            size: Some(metadata.size()),
            owner: Some((metadata.uid(), metadata.gid())),
            mode: Some(metadata.mode()),
            times: Some((seconds(metadata.atime()), seconds(metadata.mtime()))),
        }
    }
}

/// A reply being written. Starts with room for the length.
pub(super) struct Reply {
    bytes: Vec<u8>,
}

impl Reply {
    pub(super) fn new(kind: u8) -> Reply {
        let mut bytes = vec![0; 4];
        bytes.push(kind);
        Reply { bytes }
    }

    /// A reply to request `id`.
    pub(super) fn to(id: u32, kind: u8) -> Reply {
        let mut reply = Reply::new(kind);
        reply.u32(id);
        reply
    }

    pub(super) fn status(id: u32, refusal: &Refusal) -> Reply {
        let mut reply = Reply::to(id, kind::STATUS);
        reply.u32(refusal.code);
        reply.bytes(refusal.text.as_bytes());
        reply.bytes(b"en");
        reply
    }

    pub(super) fn u32(&mut self, value: u32) {
        self.bytes.extend_from_slice(&value.to_be_bytes());
    }

    pub(super) fn u64(&mut self, value: u64) {
        self.bytes.extend_from_slice(&value.to_be_bytes());
    }

    pub(super) fn bytes(&mut self, value: &[u8]) {
        self.u32(u32::try_from(value.len()).unwrap_or(u32::MAX));
        self.bytes.extend_from_slice(value);
    }

    pub(super) fn text(&mut self, value: &OsStr) {
        self.bytes(value.as_bytes());
    }

    pub(super) fn attributes(&mut self, attributes: &Attributes) {
        let flag = |present: bool, flag: u32| if present { flag } else { 0 };
        self.u32(
            flag(attributes.size.is_some(), ATTR_SIZE)
                | flag(attributes.owner.is_some(), ATTR_UIDGID)
                | flag(attributes.mode.is_some(), ATTR_PERMISSIONS)
                | flag(attributes.times.is_some(), ATTR_ACMODTIME),
        );
        if let Some(size) = attributes.size {
            self.u64(size);
        }
        if let Some((first, second)) = attributes.owner {
            self.u32(first);
            self.u32(second);
        }
        if let Some(mode) = attributes.mode {
            self.u32(mode);
        }
        if let Some((accessed, modified)) = attributes.times {
            self.u32(accessed);
            self.u32(modified);
        }
    }

    /// Room for file data of at most `length` bytes; `fill` says how many it wrote. No byte is copied twice.
    pub(super) fn data(&mut self, length: usize, fill: impl FnOnce(&mut [u8]) -> io::Result<usize>) -> io::Result<usize> {
        let start = self.bytes.len() + 4;
        self.u32(0);
        self.bytes.resize(start + length, 0);
        let count = fill(self.bytes.get_mut(start..).unwrap_or_default())?;
        self.bytes.truncate(start + count);
        if let (Some(field), Ok(count)) = (self.bytes.get_mut(start - 4..start), u32::try_from(count)) {
            field.copy_from_slice(&count.to_be_bytes());
        }
        Ok(count)
    }

    /// Bytes written so far.
    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Appends another reply's fields.
    pub(super) fn append(&mut self, fields: &[u8]) {
        self.bytes.extend_from_slice(fields);
    }

    /// The finished packet.
    pub(super) fn finish(mut self) -> Vec<u8> {
        let length = u32::try_from(self.bytes.len() - 4).unwrap_or(u32::MAX).to_be_bytes();
        if let Some(field) = self.bytes.first_chunk_mut::<4>() {
            *field = length;
        }
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_survive_the_wire() {
        let attributes = Attributes { size: Some(1 << 40), owner: Some((1000, 100)), mode: Some(0o100_644), times: Some((1, 2)) };
        for attributes in [attributes, Attributes { owner: None, times: None, ..attributes }, Attributes::default()] {
            let mut reply = Reply::new(kind::ATTRS);
            reply.attributes(&attributes);
            let packet = reply.finish();
            assert_eq!(Fields::new(&packet[5..]).attributes(), Ok(attributes));
        }
    }

    #[test]
    fn a_truncated_field_is_a_bad_message() {
        assert_eq!(Fields::new(&[0, 0, 0, 9, 1]).bytes(), Err(Refusal::bad_message()));
        assert_eq!(Fields::new(&[0, 0]).u32(), Err(Refusal::bad_message()));
        assert_eq!(Fields::new(&[0, 0, 0, 1, 0]).path(), Err(Refusal::bad_message()));
    }
}
