//! Reproducible tar archives: no date, user or machine gets into them. Byte for byte what GNU tar writes with
//! `--format=ustar --mtime=@0 --owner=0 --group=0 --numeric-owner`, so that images made with it keep their ids.

use std::io::{self, Read, Write};

use tar::{Builder, Header};

/// GNU tar pads archives to a multiple of this.
const RECORD: u64 = 20 * 512;

/// An archive being written.
pub struct Tarball<W: Write> {
    builder: Builder<W>,
    size: u64,
}

impl<W: Write> Tarball<W> {
    /// An empty archive.
    pub fn new(into: W) -> Self {
        Tarball { builder: Builder::new(into), size: 0 }
    }

    /// Adds a file of `size` bytes.
    ///
    /// # Errors
    /// The file cannot be read or is shorter, its name is too long, or the archive cannot be written.
    pub fn file(&mut self, name: &str, mode: u32, size: u64, from: impl Read) -> io::Result<()> {
        let header = header(name, mode, size)?;
        let mut from = from.take(size);
        self.builder.append(&header, &mut from)?;
        if from.limit() > 0 {
            return Err(io::Error::other(format!("{name} has {} bytes instead of {size}", size - from.limit())));
        }
        self.size += 512 + size.next_multiple_of(512);
        Ok(())
    }

    /// Ends the archive and returns the writer.
    ///
    /// # Errors
    /// The archive cannot be written.
    pub fn finish(self) -> io::Result<W> {
        // Two blocks of zeros end an archive.
        let written = self.size + 2 * 512;
        let mut into = self.builder.into_inner()?;
        let padding = written.next_multiple_of(RECORD) - written;
        io::copy(&mut io::repeat(0).take(padding), &mut into)?;
        into.flush()?;
        Ok(into)
    }
}

fn header(name: &str, mode: u32, size: u64) -> io::Result<Header> {
    let mut header = Header::new_ustar();
    header.set_path(name)?;
    header.set_mode(mode);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_size(size);
    header.set_entry_type(tar::EntryType::Regular);
    header.set_device_major(0)?;
    header.set_device_minor(0)?;
    header.set_cksum();
    // The crate writes the checksum with seven digits, GNU tar with six and a space.
    let sum = format!("{:06o}\0 ", header.cksum()?);
    header.as_old_mut().cksum.copy_from_slice(sum.as_bytes().get(..8).unwrap_or(b"0000000\0"));
    Ok(header)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sha256;

    fn archive(files: &[(&str, u32, &str)]) -> Vec<u8> {
        let mut tarball = Tarball::new(Vec::new());
        for (name, mode, text) in files {
            tarball.file(name, *mode, text.len() as u64, text.as_bytes()).unwrap();
        }
        tarball.finish().unwrap()
    }

    /// The hashes come from GNU tar 1.34.
    #[test]
    fn an_archive_is_what_gnu_tar_writes() {
        let hello = archive(&[("clients", 0o755, "Hello, nodes!\n")]);
        assert_eq!(hello.len(), 10_240);
        assert_eq!(sha256::of(hello), "3b631ec8419902a0938aae14f744ee08e23b51b52772d2792c94589018a1a6b9");
        let long = "x".repeat(30_000);
        let two = archive(&[("manifest.json", 0o644, ""), ("blobs/sha256/ab", 0o644, &long)]);
        assert_eq!(sha256::of(two), "7865e57599921abcef6f594cf85fb61d9ec532b90fc76e129fab6b5027e2de81");
    }

    #[test]
    fn an_archive_can_be_read() {
        let bytes = archive(&[("a", 0o644, "one"), ("b/c", 0o755, "")]);
        let mut read = tar::Archive::new(&bytes[..]);
        let entries: Vec<_> = read
            .entries()
            .unwrap()
            .map(|entry| {
                let mut entry = entry.unwrap();
                let mut text = String::new();
                entry.read_to_string(&mut text).unwrap();
                let header = entry.header();
                assert_eq!((header.uid().unwrap(), header.gid().unwrap(), header.mtime().unwrap()), (0, 0, 0));
                (entry.path().unwrap().display().to_string(), header.mode().unwrap(), text)
            })
            .collect();
        assert_eq!(entries, [("a".into(), 0o644, "one".into()), ("b/c".into(), 0o755, String::new())]);
    }

    #[test]
    fn a_file_of_another_length_fails() {
        let mut tarball = Tarball::new(Vec::new());
        tarball.file("a", 0o644, 3, &b"four"[..]).unwrap();
        assert!(
            tarball.file("b", 0o644, 3, &b"tw"[..]).unwrap_err().to_string().contains("b has 2 bytes instead of 3")
        );
        assert!(tarball.file(&"n".repeat(300), 0o644, 0, &b""[..]).is_err());
    }
}
