//! Carrying out SFTP requests on the file system.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::{self, File, Metadata, ReadDir};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Mode, OFlags, RenameFlags, StatVfs, StatVfsMountFlags, Timespec, Timestamps};
use rustix::io::Errno;

use super::packet::{Attributes, Fields, Refusal, Reply, kind};
use super::path::Paths;
use super::{DATA_BYTES_MAX, PACKET_BYTES_MAX};

mod listing;

use listing::Names;

/// Files and directories one session may have open.
const HANDLES_MAX: usize = 1024;

/// The protocol version spoken, whatever newer one a client offers.
const VERSION: u32 = 3;

/// Extensions and their versions, as OpenSSH names them (PROTOCOL section 4).
const EXTENSIONS: &[(&str, &str)] = &[
    ("posix-rename@openssh.com", "1"),
    ("statvfs@openssh.com", "2"),
    ("fstatvfs@openssh.com", "2"),
    ("hardlink@openssh.com", "1"),
    ("fsync@openssh.com", "1"),
    ("lsetstat@openssh.com", "1"),
    ("limits@openssh.com", "1"),
    ("expand-path@openssh.com", "1"),
    ("users-groups-by-id@openssh.com", "1"),
    ("copy-data", "1"),
    ("home-directory", "1"),
];

/// Bytes copied at a time by `copy-data`.
const COPY_BYTES: usize = 128 << 10;

type Answer = Result<Reply, Refusal>;

/// The state of one SFTP session: its open handles.
pub(super) struct Files {
    paths: Paths,
    open: HashMap<u32, Open>,
    next_handle: u32,
    names: Names,
}

enum Open {
    File(File),
    Directory { entries: ReadDir, path: PathBuf, is_started: bool },
}

impl Files {
    pub(super) fn new(directory: PathBuf, home: PathBuf) -> Files {
        Files { paths: Paths::new(directory, home), open: HashMap::new(), next_handle: 0, names: Names::default() }
    }

    /// Carries out one request and returns the packet that answers it.
    pub(super) fn answer(&mut self, packet: &[u8]) -> Vec<u8> {
        let mut fields = Fields::new(packet);
        match (fields.u8(), fields.u32()) {
            (Ok(1), Ok(_version)) => version().finish(),
            (Ok(kind), Ok(id)) => {
                self.request(kind, id, &mut fields).unwrap_or_else(|refusal| Reply::status(id, &refusal)).finish()
            }
            _ => Reply::status(0, &Refusal::bad_message()).finish(),
        }
    }

    fn request(&mut self, kind: u8, id: u32, fields: &mut Fields<'_>) -> Answer {
        match kind {
            3 => self.open_file(id, fields),
            4 => self.close(id, fields),
            5 => self.read(id, fields),
            6 => self.write(id, fields),
            7 => self.stat(id, fields, |path| fs::symlink_metadata(path)),
            8 => self.stat_handle(id, fields),
            9 => self.set_stat(id, fields, Follow::Links),
            10 => self.set_stat_handle(id, fields),
            11 => self.open_directory(id, fields),
            12 => self.read_directory(id, fields),
            13 => done(id, fs::remove_file(self.path(fields)?)),
            14 => self.make_directory(id, fields),
            15 => done(id, fs::remove_dir(self.path(fields)?)),
            16 => named(id, &self.paths.canonical(&fields.path()?)?),
            17 => self.stat(id, fields, |path| fs::metadata(path)),
            18 => self.rename(id, fields),
            19 => named(id, &fs::read_link(self.path(fields)?)?),
            20 => self.make_link(id, fields),
            200 => self.extended(id, fields),
            _ => Err(unsupported()),
        }
    }

    fn extended(&mut self, id: u32, fields: &mut Fields<'_>) -> Answer {
        match fields.bytes()? {
            b"posix-rename@openssh.com" => done(id, fs::rename(self.path(fields)?, self.path(fields)?)),
            b"hardlink@openssh.com" => done(id, fs::hard_link(self.path(fields)?, self.path(fields)?)),
            b"statvfs@openssh.com" => Ok(file_system(id, &rustix::fs::statvfs(&self.path(fields)?)?)),
            b"fstatvfs@openssh.com" => Ok(file_system(id, &rustix::fs::fstatvfs(self.file(fields)?)?)),
            b"fsync@openssh.com" => done(id, self.file(fields)?.sync_all()),
            b"lsetstat@openssh.com" => self.set_stat(id, fields, Follow::Nothing),
            b"limits@openssh.com" => Ok(limits(id)),
            b"expand-path@openssh.com" => named(id, &self.paths.expanded(&fields.path()?)?),
            b"users-groups-by-id@openssh.com" => self.names.by_id(id, fields),
            b"home-directory" => named(id, self.paths.home()),
            b"copy-data" => self.copy(id, fields),
            _ => Err(unsupported()),
        }
    }

    fn path(&self, fields: &mut Fields<'_>) -> Result<PathBuf, Refusal> {
        Ok(self.paths.absolute(&fields.path()?))
    }

    fn enter(&mut self, id: u32, open: Open) -> Answer {
        if self.open.len() >= HANDLES_MAX {
            return Err(Refusal::new(Refusal::FAILURE, "too many open handles"));
        }
        let handle = self.next_handle;
        self.next_handle = handle.wrapping_add(1);
        self.open.insert(handle, open);
        let mut reply = Reply::to(id, kind::HANDLE);
        reply.bytes(&handle.to_be_bytes());
        Ok(reply)
    }

    fn file(&self, fields: &mut Fields<'_>) -> Result<&File, Refusal> {
        match self.open.get(&handle(fields)?) {
            Some(Open::File(file)) => Ok(file),
            _ => Err(Refusal::no_such_handle()),
        }
    }

    fn open_file(&mut self, id: u32, fields: &mut Fields<'_>) -> Answer {
        let (path, flags, attributes) = (self.path(fields)?, fields.u32()?, fields.attributes()?);
        let mode = Mode::from_raw_mode(attributes.mode.unwrap_or(0o666) & 0o7777);
        let file = File::from(rustix::fs::open(path, open_flags(flags) | OFlags::CLOEXEC | OFlags::NOCTTY, mode)?);
        self.enter(id, Open::File(file))
    }

    fn close(&mut self, id: u32, fields: &mut Fields<'_>) -> Answer {
        self.open.remove(&handle(fields)?).ok_or_else(Refusal::no_such_handle)?;
        Ok(ok(id))
    }

    fn read(&mut self, id: u32, fields: &mut Fields<'_>) -> Answer {
        let (file, offset) = (self.file(fields)?, fields.u64()?);
        let length = usize::try_from(fields.u32()?).unwrap_or(DATA_BYTES_MAX).min(DATA_BYTES_MAX);
        let mut reply = Reply::to(id, kind::DATA);
        let count = reply.data(length, |buffer| read_at(file, buffer, offset))?;
        if count == 0 && length > 0 {
            return Err(Refusal::end_of_file());
        }
        Ok(reply)
    }

    fn write(&mut self, id: u32, fields: &mut Fields<'_>) -> Answer {
        let (file, offset, data) = (self.file(fields)?, fields.u64()?, fields.bytes()?);
        done(id, file.write_all_at(data, offset))
    }

    fn stat(&mut self, id: u32, fields: &mut Fields<'_>, look: impl Fn(&Path) -> io::Result<Metadata>) -> Answer {
        Ok(described(id, &look(&self.path(fields)?)?))
    }

    fn stat_handle(&mut self, id: u32, fields: &mut Fields<'_>) -> Answer {
        match self.open.get(&handle(fields)?) {
            Some(Open::File(file)) => Ok(described(id, &file.metadata()?)),
            Some(Open::Directory { path, .. }) => Ok(described(id, &fs::metadata(path)?)),
            None => Err(Refusal::no_such_handle()),
        }
    }

    fn set_stat(&mut self, id: u32, fields: &mut Fields<'_>, follow: Follow) -> Answer {
        let (path, wanted) = (self.path(fields)?, fields.attributes()?);
        if let Some(size) = wanted.size {
            File::options().write(true).open(&path)?.set_len(size)?;
        }
        let flags = match follow {
            Follow::Links => AtFlags::empty(),
            Follow::Nothing => AtFlags::SYMLINK_NOFOLLOW,
        };
        if let Some(mode) = wanted.mode {
            // The kernel knows no change of mode that does not follow. Where there is nothing to follow, none is needed.
            let is_link = !flags.is_empty() && fs::symlink_metadata(&path)?.is_symlink();
            let flags = if is_link { flags } else { AtFlags::empty() };
            rustix::fs::chmodat(CWD, &path, Mode::from_raw_mode(mode & 0o7777), flags)?;
        }
        if let Some(times) = wanted.times {
            rustix::fs::utimensat(CWD, &path, &timestamps(times), flags)?;
        }
        match (wanted.owner, follow) {
            (Some((user, group)), Follow::Links) => done(id, std::os::unix::fs::chown(&path, Some(user), Some(group))),
            (Some((user, group)), Follow::Nothing) => done(id, std::os::unix::fs::lchown(&path, Some(user), Some(group))),
            (None, _) => Ok(ok(id)),
        }
    }

    fn set_stat_handle(&mut self, id: u32, fields: &mut Fields<'_>) -> Answer {
        let file = self.file(fields)?;
        let wanted = fields.attributes()?;
        if let Some(size) = wanted.size {
            file.set_len(size)?;
        }
        if let Some(mode) = wanted.mode {
            rustix::fs::fchmod(file, Mode::from_raw_mode(mode & 0o7777))?;
        }
        if let Some(times) = wanted.times {
            rustix::fs::futimens(file, &timestamps(times))?;
        }
        match wanted.owner {
            Some((user, group)) => done(id, std::os::unix::fs::fchown(file, Some(user), Some(group))),
            None => Ok(ok(id)),
        }
    }

    fn open_directory(&mut self, id: u32, fields: &mut Fields<'_>) -> Answer {
        let path = self.path(fields)?;
        let entries = fs::read_dir(&path)?;
        self.enter(id, Open::Directory { entries, path, is_started: false })
    }

    fn read_directory(&mut self, id: u32, fields: &mut Fields<'_>) -> Answer {
        let Some(Open::Directory { entries, path, is_started }) = self.open.get_mut(&handle(fields)?) else {
            return Err(Refusal::no_such_handle());
        };
        let dots = if *is_started { [].as_slice() } else { &[".", ".."] };
        *is_started = true;
        let mut page = listing::Page::new();
        for dot in dots {
            page.add(OsStr::new(dot), &fs::symlink_metadata(path.join(dot))?, &mut self.names);
        }
        for entry in entries.by_ref() {
            let entry = entry?;
            // An entry removed since is no error: it just is not there.
            if let Ok(metadata) = entry.metadata() {
                page.add(&entry.file_name(), &metadata, &mut self.names);
            }
            if page.is_full() {
                break;
            }
        }
        page.into_reply(id).ok_or_else(Refusal::end_of_file)
    }

    fn make_directory(&mut self, id: u32, fields: &mut Fields<'_>) -> Answer {
        let (path, attributes) = (self.path(fields)?, fields.attributes()?);
        rustix::fs::mkdir(path, Mode::from_raw_mode(attributes.mode.unwrap_or(0o777) & 0o7777))?;
        Ok(ok(id))
    }

    /// Version 3 forbids replacing the target; clients that want to use `posix-rename@openssh.com`.
    fn rename(&mut self, id: u32, fields: &mut Fields<'_>) -> Answer {
        let (from, to) = (self.path(fields)?, self.path(fields)?);
        match rustix::fs::renameat_with(CWD, &from, CWD, &to, RenameFlags::NOREPLACE) {
            // Not every file system can do both at once.
            Err(Errno::INVAL | Errno::NOSYS) if fs::symlink_metadata(&to).is_err() => done(id, fs::rename(from, to)),
            Err(Errno::INVAL | Errno::NOSYS | Errno::EXIST) => Err(Refusal::new(Refusal::FAILURE, "target exists")),
            renamed => done(id, renamed.map_err(io::Error::from)),
        }
    }

    /// OpenSSH takes the target first, against the draft, and every client follows it.
    fn make_link(&mut self, id: u32, fields: &mut Fields<'_>) -> Answer {
        let (target, link) = (fields.path()?, self.path(fields)?);
        done(id, std::os::unix::fs::symlink(target, link))
    }

    /// `copy-data`: length 0 means up to the end.
    fn copy(&mut self, id: u32, fields: &mut Fields<'_>) -> Answer {
        let (from, mut offset, length) = (self.file(fields)?, fields.u64()?, fields.u64()?);
        let (to, mut target) = (self.file(fields)?, fields.u64()?);
        let mut left = if length == 0 { u64::MAX } else { length };
        let mut buffer = vec![0; COPY_BYTES];
        while left > 0 {
            let wanted = usize::try_from(left).unwrap_or(COPY_BYTES).min(COPY_BYTES);
            let chunk = buffer.get_mut(..wanted).unwrap_or_default();
            let count = read_at(from, chunk, offset)?;
            if count == 0 {
                break;
            }
            to.write_all_at(chunk.get(..count).unwrap_or_default(), target)?;
            let count = u64::try_from(count).unwrap_or_default();
            (offset, target, left) = (offset.saturating_add(count), target.saturating_add(count), left - count);
        }
        Ok(ok(id))
    }
}

#[derive(Clone, Copy)]
enum Follow {
    Links,
    Nothing,
}

fn handle(fields: &mut Fields<'_>) -> Result<u32, Refusal> {
    let bytes = fields.bytes()?.first_chunk::<4>().ok_or_else(Refusal::no_such_handle)?;
    Ok(u32::from_be_bytes(*bytes))
}

fn open_flags(flags: u32) -> OFlags {
    let has = |flag: u32| flags & flag != 0;
    let mut result = match (has(1), has(2) || has(4)) {
        (true, true) => OFlags::RDWR,
        (false, true) => OFlags::WRONLY,
        (_, false) => OFlags::RDONLY,
    };
    result.set(OFlags::APPEND, has(4));
    result.set(OFlags::CREATE, has(8));
    result.set(OFlags::TRUNC, has(16));
    result.set(OFlags::EXCL, has(32));
    result
}

fn read_at(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    loop {
        match file.read_at(buffer, offset) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}

fn timestamps((accessed, modified): (u32, u32)) -> Timestamps {
    let at = |seconds: u32| Timespec { tv_sec: i64::from(seconds), tv_nsec: 0 };
    Timestamps { last_access: at(accessed), last_modification: at(modified) }
}

fn unsupported() -> Refusal {
    Refusal::new(Refusal::UNSUPPORTED, "operation unsupported")
}

fn ok(id: u32) -> Reply {
    Reply::status(id, &Refusal::new(Refusal::OK, "success"))
}

fn done(id: u32, result: io::Result<()>) -> Answer {
    result?;
    Ok(ok(id))
}

fn described(id: u32, metadata: &Metadata) -> Reply {
    let mut reply = Reply::to(id, kind::ATTRS);
    reply.attributes(&Attributes::from(metadata));
    reply
}

/// A single name without attributes, which answers questions about paths.
fn named(id: u32, path: &Path) -> Answer {
    let mut reply = Reply::to(id, kind::NAME);
    reply.u32(1);
    reply.text(path.as_os_str());
    reply.text(path.as_os_str());
    reply.attributes(&Attributes::default());
    Ok(reply)
}

fn version() -> Reply {
    let mut reply = Reply::new(kind::VERSION);
    reply.u32(VERSION);
    for (name, version) in EXTENSIONS {
        reply.bytes(name.as_bytes());
        reply.bytes(version.as_bytes());
    }
    reply
}

fn limits(id: u32) -> Reply {
    let mut reply = Reply::to(id, kind::EXTENDED_REPLY);
    for limit in [PACKET_BYTES_MAX, DATA_BYTES_MAX, DATA_BYTES_MAX, HANDLES_MAX] {
        reply.u64(u64::try_from(limit).unwrap_or(u64::MAX));
    }
    reply
}

fn file_system(id: u32, found: &StatVfs) -> Reply {
    const READ_ONLY: u64 = 1;
    const NO_SETUID: u64 = 2;
    let flag = |mount, flag| if found.f_flag.contains(mount) { flag } else { 0 };
    let mut reply = Reply::to(id, kind::EXTENDED_REPLY);
    for value in [
        found.f_bsize,
        found.f_frsize,
        found.f_blocks,
        found.f_bfree,
        found.f_bavail,
        found.f_files,
        found.f_ffree,
        found.f_favail,
        found.f_fsid,
        flag(StatVfsMountFlags::RDONLY, READ_ONLY) | flag(StatVfsMountFlags::NOSUID, NO_SETUID),
        found.f_namemax,
    ] {
        reply.u64(value);
    }
    reply
}
