//! Reads a program's ELF headers: its architecture, and whether it can run alone in an image. The only user of the elf
//! crate.

use std::io::{Read, Seek};

use elf::endian::AnyEndian;
use elf::file::Class;
use elf::{ElfStream, abi};

/// The architecture of a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Machine {
    /// Its name in an image's configuration: `amd64`.
    pub image: &'static str,
    /// Its name in a Rust target: `x86_64`.
    pub rust: &'static str,
}

const MACHINES: [(u16, Machine); 2] = [
    (abi::EM_X86_64, Machine { image: "amd64", rust: "x86_64" }),
    (abi::EM_AARCH64, Machine { image: "arm64", rust: "aarch64" }),
];

/// Why a program cannot be an image by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unfit {
    /// It is not a 64-bit Linux program.
    NoProgram,
    /// It is for another architecture.
    OtherMachine,
    /// It is linked dynamically.
    LoadsLibraries(Machine),
}

impl Unfit {
    /// The message about `program`.
    pub fn message(self, program: &str) -> String {
        match self {
            Unfit::NoProgram => format!("{program} is not a 64-bit Linux program"),
            Unfit::OtherMachine => format!("{program} is for neither x86_64 nor aarch64"),
            Unfit::LoadsLibraries(machine) => format!(
                "{program} is linked dynamically, but the image has no libraries. Build it with:\n  RUSTFLAGS='-C \
                 target-feature=+crt-static' cargo build --release --locked --package clients --target \
                 {}-unknown-linux-gnu",
                machine.rust
            ),
        }
    }
}

/// The architecture of a static program.
///
/// # Errors
/// It is not a static 64-bit Linux program for a known architecture.
pub fn machine(program: impl Read + Seek) -> Result<Machine, Unfit> {
    let program = ElfStream::<AnyEndian, _>::open_stream(program).map_err(|_| Unfit::NoProgram)?;
    if program.ehdr.class != Class::ELF64 {
        return Err(Unfit::NoProgram);
    }
    let known = MACHINES.into_iter().find(|(number, _)| *number == program.ehdr.e_machine);
    let (_, machine) = known.ok_or(Unfit::OtherMachine)?;
    // This segment names the dynamic loader, which the image does not contain.
    if program.segments().iter().any(|segment| segment.p_type == abi::PT_INTERP) {
        return Err(Unfit::LoadsLibraries(machine));
    }
    Ok(machine)
}

#[cfg(test)]
pub mod sample {
    //! Programs for tests.

    use super::*;

    /// ELF headers with segments of these types, and some bytes.
    pub fn program(machine: u16, segments: &[u32]) -> Vec<u8> {
        let mut bytes = b"\x7fELF\x02\x01\x01".to_vec();
        bytes.resize(16, 0);
        for half in [abi::ET_EXEC, machine] {
            bytes.extend(half.to_le_bytes());
        }
        bytes.extend(1u32.to_le_bytes());
        for word in [0x40_0000u64, if segments.is_empty() { 0 } else { 64 }, 0] {
            bytes.extend(word.to_le_bytes());
        }
        bytes.extend(0u32.to_le_bytes());
        for half in [64, 56, segments.len() as u16, 0, 0, 0] {
            bytes.extend(half.to_le_bytes());
        }
        for segment in segments {
            bytes.extend([segment.to_le_bytes(), 5u32.to_le_bytes()].concat());
            for word in [0u64, 0x40_0000, 0x40_0000, 0, 0, 0x1000] {
                bytes.extend(word.to_le_bytes());
            }
        }
        bytes.extend(b"Hello, nodes!\n");
        bytes
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;

    fn asked(bytes: &[u8]) -> Result<&'static str, Unfit> {
        machine(Cursor::new(bytes)).map(|machine| machine.image)
    }

    #[test]
    fn the_architecture_is_in_the_header() {
        for (number, name) in [(62, "amd64"), (183, "arm64")] {
            assert_eq!(asked(&sample::program(number, &[abi::PT_LOAD])), Ok(name));
            assert_eq!(asked(&sample::program(number, &[])), Ok(name));
        }
        assert_eq!(asked(&sample::program(abi::EM_RISCV, &[])), Err(Unfit::OtherMachine));
    }

    #[test]
    fn a_dynamic_program_is_refused_with_the_command_that_builds_a_static_one() {
        let unfit = asked(&sample::program(62, &[abi::PT_PHDR, abi::PT_INTERP, abi::PT_LOAD])).unwrap_err();
        assert_eq!(
            unfit.message("target/clients"),
            "target/clients is linked dynamically, but the image has no libraries. Build it with:\n  \
             RUSTFLAGS='-C target-feature=+crt-static' cargo build --release --locked --package clients \
             --target x86_64-unknown-linux-gnu"
        );
        // The test program itself is linked dynamically.
        let us = std::fs::File::open(std::env::current_exe().unwrap()).unwrap();
        if cfg!(all(target_os = "linux", target_env = "gnu")) {
            assert!(matches!(machine(us), Err(Unfit::LoadsLibraries(_))));
        }
    }

    #[test]
    fn anything_else_is_not_a_program() {
        let mut narrow = sample::program(62, &[]);
        narrow[4] = 1;
        let mut cut = sample::program(62, &[1, 1]);
        cut.truncate(100);
        for bytes in [&b""[..], b"#!/bin/sh\n", b"\x7fELF", &narrow, &cut] {
            assert_eq!(asked(bytes), Err(Unfit::NoProgram), "{bytes:?}");
        }
        assert_eq!(Unfit::NoProgram.message("x"), "x is not a 64-bit Linux program");
        assert_eq!(Unfit::OtherMachine.message("x"), "x is for neither x86_64 nor aarch64");
    }
}
