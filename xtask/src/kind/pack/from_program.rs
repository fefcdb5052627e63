//! Makes the clients' image, which contains their program and nothing else, without a registry. `docker load` and
//! `ctr images import` accept the archive. The same program gives the same archive and image id on every machine.

use std::fs::{self, File};
use std::path::Path;

use crate::failure::{Failure, IoContext, Result};
use crate::k8s::render::CLIENT_IMAGE;
use crate::kind::images::{Archive, own_name};
use crate::kind::pack::oci::{self, Saved};
use crate::kind::pack::{Packer, Partial, program, prune};
use crate::sha256;

/// Makes an image of `program`. It gets two names: one made from its id, and the one in clients.yml.
///
/// # Errors
/// The program is not a static Linux program, or the cache cannot be written.
pub fn make(packer: &Packer<'_>, program: &Path) -> Result<Archive> {
    packer.unless_interrupted(make_whole(packer, program))
}

fn make_whole(packer: &Packer<'_>, program: &Path) -> Result<Archive> {
    if !program.is_file() {
        return Err(Failure::step(format!("{} does not exist", program.display())));
    }
    let folder = packer.folder("clients")?;
    let work = Partial::new(&folder)?;
    // Work on a copy, because a build may replace the program meanwhile.
    let copy = work.path("clients");
    fs::copy(program, &copy).cannot("copy", program)?;
    let machine = program::machine(File::open(&copy).cannot("read", &copy)?)
        .map_err(|unfit| Failure::step(unfit.message(&program.display().to_string())))?;

    let layer = work.path("layer.tar");
    let (hash, _) = packer.tar(&layer, |tarball| packer.add(tarball, "clients", 0o755, &copy))?;
    let config = oci::config_of_program(machine.image, &hash);
    let hash = sha256::of(&config);
    let (id, config_file) = (oci::digest(&hash), format!("{hash}.json"));
    let name = own_name(&id);
    let list = oci::saved(&Saved {
        config: config_file.clone(),
        repo_tags: Some(vec![name.clone(), CLIENT_IMAGE.into()]),
        layers: vec!["layer.tar".into()],
    });
    let archive = work.path("archive");
    packer.tar(&archive, |tarball| {
        packer.add_text(tarball, "manifest.json", &list)?;
        packer.add_text(tarball, &config_file, &config)?;
        packer.add(tarball, "layer.tar", 0o644, &layer)
    })?;
    let file = folder.join(hash.get(..12).unwrap_or(&hash)).with_extension("tar");
    fs::rename(&archive, &file).cannot("write", &file)?;
    prune(&folder);
    Ok(Archive { file, name, id })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exec::Output;
    use crate::exec::fake::FakeExec;
    use crate::failure::Exit;
    use crate::kind::pack::program::sample;
    use crate::kind::pack::tests::{files, folder, names, packer};
    use crate::signal::Stop;

    fn made(dir: &Path, program: &[u8], stop: &Stop) -> Result<Archive> {
        let exec = FakeExec::new(|cmd| panic!("{cmd} is run") as Result<Output>);
        let (file, cache) = (dir.join("program"), dir.join("cache"));
        fs::write(&file, program).unwrap();
        make(&packer(&cache, &exec, stop), &file)
    }

    /// The hashes come from GNU tar and jq.
    #[test]
    fn archive_and_id_depend_on_the_program_alone() {
        let dir = folder("program");
        let golden = [
            (
                62,
                "a1135c7b456d57190acdab8d7bb1bd0db6ed3d68925d9ac7b5c4bb8ac508b934",
                "db3ad81a7f5373667c9316e3c69f86d09e25c097b7ffb6aaff040e27f5e3470f",
            ),
            (
                183,
                "362dbe51dd825357705687481e0aaf4cb44755c0b2431b93e38974f30d73b16a",
                "5a929840d976d82f1b63e55d97fa4e04495c90c1db8c4dae366cdeb2fc8865d6",
            ),
        ];
        for (machine, id, hash) in golden {
            // The file's date and mode make no difference.
            for mode in [0o755, 0o700] {
                let program = dir.join("program");
                fs::write(&program, "").unwrap();
                fs::set_permissions(&program, std::os::unix::fs::PermissionsExt::from_mode(mode)).unwrap();
                File::open(&program).unwrap().set_modified(std::time::UNIX_EPOCH).unwrap();
                let archive = made(&dir, &sample::program(machine, &[1]), &Stop::default()).unwrap();
                assert_eq!(archive.id, format!("sha256:{id}"));
                assert_eq!(archive.name, format!("kafka-lab-clients:{}", &id[..12]));
                assert_eq!(archive.file, dir.join("cache/images/clients").join(format!("{}.tar", &id[..12])));
                assert_eq!(sha256::of(fs::read(&archive.file).unwrap()), hash);
            }
        }
        fs::remove_dir_all(&dir).unwrap();
    }

    #[test]
    fn the_archive_has_the_format_of_docker_save() {
        let (dir, program) = (folder("load"), sample::program(62, &[1]));
        let archive = made(&dir, &program, &Stop::default()).unwrap();
        let files = files(File::open(&archive.file).unwrap());
        let listed = oci::parse_saved(&files["manifest.json"]).unwrap();
        assert_eq!(listed.repo_tags.unwrap(), [archive.name, "kafka-lab-clients:lab".into()]);
        let config: serde_json::Value = serde_json::from_slice(&files[&listed.config]).unwrap();
        assert_eq!(oci::digest(&sha256::of(&files[&listed.config])), archive.id);
        let layer = &files[&listed.layers[0]];
        assert_eq!(config["rootfs"]["diff_ids"][0], oci::digest(&sha256::of(layer)));
        let inside = super::super::tests::files(&layer[..]);
        assert_eq!(inside.len(), 1);
        assert!(inside["clients"] == program);
        fs::remove_dir_all(&dir).unwrap();
    }

    #[test]
    fn an_unfit_program_is_refused_and_no_files_are_left() {
        let dir = folder("refused");
        let refused = |program: &[u8], stop: &Stop| made(&dir, program, stop).unwrap_err();
        let dynamic = refused(&sample::program(62, &[1, 3]), &Stop::default());
        assert!(
            dynamic.message.contains("program is linked dynamically, but the image has no libraries."),
            "{dynamic}"
        );
        let riscv = refused(&sample::program(243, &[1]), &Stop::default());
        assert!(riscv.message.ends_with("program is for neither x86_64 nor aarch64"), "{riscv}");
        let script = refused(b"#!/bin/sh\n", &Stop::default());
        assert!(script.message.ends_with("program is not a 64-bit Linux program"), "{script}");
        let stop = Stop::default();
        stop.cancel();
        assert_eq!(refused(&sample::program(62, &[1]), &stop).exit, Exit::Interrupted);
        assert_eq!(names(&dir.join("cache/images/clients")), Vec::<String>::new());
        fs::remove_file(dir.join("program")).unwrap();
        let exec = FakeExec::new(|_| Ok(Output::default()));
        let missing = make(&packer(&dir, &exec, &Stop::default()), &dir.join("program")).unwrap_err();
        assert!(missing.message.ends_with("program does not exist"), "{missing}");
        fs::remove_dir_all(&dir).unwrap();
    }
}
