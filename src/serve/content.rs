//! Bytes with what HTTP says of them: their digest and a compressed form.

use std::fs::File;
use std::io::{self, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use flate2::Compression;
use flate2::write::GzEncoder;
use hyper::body::Bytes;
use hyper::header::HeaderValue;

use crate::snapshot::Digest;

/// Smaller content is sent as it is: there is nothing to gain.
const MIN_COMPRESSED: u64 = 512;
/// Larger content too: nobody waits for it to be compressed.
const MAX_COMPRESSED: u64 = 32 << 20;
/// Read from a file at once, in bytes.
const CHUNK: usize = 128 * 1024;

/// Bytes that never change, with their digest.
#[derive(Debug)]
pub struct Content {
    digest: Digest,
    /// Of the bytes as they are, and compressed.
    tags: [HeaderValue; 2],
    source: Source,
    /// Made when the first client asks for it.
    compressed: OnceLock<Option<Bytes>>,
}

/// Where the bytes are. A large document is a file that is kept open: it keeps its bytes when another takes its name.
#[derive(Debug, Clone)]
pub(super) enum Source {
    Memory(Bytes),
    File { file: Arc<File>, length: u64 },
}

impl Content {
    /// Bytes that are kept in memory.
    pub fn new(bytes: impl Into<Bytes>) -> Self {
        let bytes = bytes.into();
        Self::with(Digest::of(&bytes), Source::Memory(bytes))
    }

    /// A file that is replaced when it changes and never written in place. It is kept open, and not in memory.
    pub fn of_file(path: &Path) -> io::Result<Self> {
        if !std::fs::metadata(path)?.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is no regular file"));
        }
        Self::of_open(File::open(path)?)
    }

    /// Bytes that are put into a file without a name in this folder, and are not kept in memory.
    pub fn spooled(bytes: &[u8], folder: &Path) -> io::Result<Self> {
        let mut file = tempfile::tempfile_in(folder)?;
        file.write_all(bytes)?;
        let source = Source::File { file: Arc::new(file), length: bytes.len() as u64 };
        Ok(Self::with(Digest::of(bytes), source))
    }

    fn of_open(file: File) -> io::Result<Self> {
        let (digest, length) = Digest::of_reader(&file)?;
        Ok(Self::with(digest, Source::File { file: Arc::new(file), length }))
    }

    #[expect(clippy::expect_used, reason = "hexadecimal digits, letters and quotes are a header")]
    fn with(digest: Digest, source: Source) -> Self {
        let tags = ["", "-gzip"].map(|form| {
            HeaderValue::try_from(format!("\"{digest}{form}\"")).expect("an entity tag is a header")
        });
        Self { digest, tags, source, compressed: OnceLock::new() }
    }

    /// The digest of the bytes as they are.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// The strong entity tags, with their quotes, of the bytes as they are and of the compressed form.
    pub(super) fn tags(&self) -> &[HeaderValue; 2] {
        &self.tags
    }

    /// How many bytes there are.
    pub fn length(&self) -> u64 {
        self.source.length()
    }

    /// The bytes, when they are in memory.
    pub fn bytes(&self) -> Option<&Bytes> {
        match &self.source {
            Source::Memory(bytes) => Some(bytes),
            Source::File { .. } => None,
        }
    }

    pub(super) fn source(&self) -> Source {
        self.source.clone()
    }

    /// Whether [`Content::compressed`] is quick: there is nothing to gain, or it has been made already.
    pub(super) fn is_compressed(&self) -> bool {
        !self.is_worth_it() || self.compressed.get().is_some()
    }

    /// The compressed form; the first call makes it, which takes a while. None when there is nothing to gain or the file cannot
    /// be read.
    pub(super) fn compressed(&self) -> Option<Bytes> {
        if !self.is_worth_it() {
            return None;
        }
        self.compressed.get_or_init(|| self.compress().ok()).clone()
    }

    fn is_worth_it(&self) -> bool {
        (MIN_COMPRESSED..=MAX_COMPRESSED).contains(&self.length())
    }

    fn compress(&self) -> io::Result<Bytes> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::new(6));
        match &self.source {
            Source::Memory(bytes) => encoder.write_all(bytes)?,
            Source::File { file, length } => {
                let mut offset = 0;
                while offset < *length {
                    let chunk = read_chunk(file, offset, *length)?;
                    encoder.write_all(&chunk)?;
                    offset += chunk.len() as u64;
                }
            }
        }
        let mut compressed = encoder.finish()?;
        compressed.shrink_to_fit();
        Ok(compressed.into())
    }
}

impl Source {
    pub(super) fn length(&self) -> u64 {
        match self {
            Self::Memory(bytes) => bytes.len() as u64,
            Self::File { length, .. } => *length,
        }
    }
}

/// The next bytes from here, up to the end that the file had when it was opened. Blocks.
pub(super) fn read_chunk(file: &File, offset: u64, end: u64) -> io::Result<Bytes> {
    let rest = usize::try_from(end.saturating_sub(offset)).unwrap_or(usize::MAX);
    let mut chunk = vec![0; rest.min(CHUNK)];
    file.read_exact_at(&mut chunk, offset)?;
    Ok(chunk.into())
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;
    use crate::os::files;

    fn unpacked(bytes: &[u8]) -> Vec<u8> {
        let mut plain = Vec::new();
        flate2::read::GzDecoder::new(bytes).read_to_end(&mut plain).unwrap();
        plain
    }

    #[test]
    fn a_file_keeps_its_bytes_when_another_takes_its_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("document.json");
        let first = b"first ".repeat(60_000);
        files::replace(&path, &first).unwrap();
        let content = Content::of_file(&path).unwrap();
        files::replace(&path, b"second").unwrap();
        assert_eq!(content.digest(), Digest::of(&first));
        assert_eq!(unpacked(&content.compressed().unwrap()), first);
        assert!(content.bytes().is_none(), "it is not in memory");
        assert!(Content::of_file(folder.path()).is_err(), "a folder is no document");
    }

    #[test]
    fn what_is_spooled_is_what_was_given() {
        let folder = tempfile::tempdir().unwrap();
        let bytes = b"0123456789".repeat(100_000);
        let content = Content::spooled(&bytes, folder.path()).unwrap();
        assert_eq!((content.digest(), content.length()), (Digest::of(&bytes), 1_000_000));
        assert_eq!(unpacked(&content.compressed().unwrap()), bytes);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "it has no name");
    }

    #[test]
    fn little_is_not_compressed() {
        assert_eq!(Content::new("192.0.2.0/24\n").compressed(), None);
    }
}
