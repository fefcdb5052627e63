//! Packs an image of the engine as an OCI archive with zstd layers, for `ctr images import` in the nodes.
//!
//! Each image id is packed once. A node pays for each byte it receives and writes, and the uncompressed layers of
//! `docker save` are about twice as large. The image configuration is kept byte for byte, because its digest is the
//! image's id in every node. An engine with containerd's image store uses another digest as the id.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::exec::Cmd;
use crate::failure::{Failure, IoContext, Result};
use crate::files::own::{open_own, read_own_text};
use crate::kind::images::{Archive, full_name};
use crate::kind::pack::oci::{self, Descriptor, Packed};
use crate::kind::pack::{Packer, Partial, prune, touch};
use crate::sha256::{self, Hashing};
use crate::tools::docker;

/// Returns the archive of `image`, whose id in the engine is `id`. Packs it unless the cache has it.
///
/// # Errors
/// The engine cannot save it, zstd fails, or the cache cannot be written.
pub fn pack(packer: &Packer<'_>, image: &str, id: &str) -> Result<Archive> {
    let folder = packer.folder("packed")?;
    // The archive contains the image's name, so each name gets its own archive.
    let name = sha256::of(format!("{id} {image}"));
    let file = folder.join(name.get(..24).unwrap_or(&name)).with_extension("tar");
    let id_file = file.with_extension("id");
    // Both, also if one is absent: neither is replaced if it is not ours.
    let there = [touch(&file)?, touch(&id_file)?] == [true; 2];
    if let Some(id) = read_own_text(&id_file).cannot("read", &id_file)?.filter(|_| there) {
        return Ok(Archive { file, name: image.into(), id: id.trim().into() });
    }
    (packer.status)("packing the image, once");
    let work = Partial::new(&folder)?;
    let archive = work.path("archive");
    let id = packer.unless_interrupted(repack(packer, image, &work, &archive))?;
    let written = work.path("id");
    fs::write(&written, format!("{id}\n")).cannot("write", &written)?;
    fs::rename(&written, &id_file).cannot("write", &id_file)?;
    fs::rename(&archive, &file).cannot("write", &file)?;
    prune(&folder);
    Ok(Archive { file, name: image.into(), id })
}

/// The command that compresses a layer.
pub fn zstd(layer: &Path, deadline: Duration) -> Cmd {
    Cmd::new("zstd", deadline).args(["-q", "-T0", "-3", "--stdout"]).arg(layer)
}

/// Writes the archive and returns the image's id in the nodes.
fn repack(packer: &Packer<'_>, image: &str, work: &Partial, archive: &Path) -> Result<String> {
    let saved = work.path("saved");
    save(packer, image, &saved)?;
    let list = saved.join("manifest.json");
    let json = fs::read(&list).cannot("read", &list)?;
    let listed = oci::parse_saved(&json)
        .ok_or_else(|| Failure::step(format!("the manifest.json of docker save {image} lists no image")))?;
    let mut layers: Vec<(Descriptor, PathBuf)> = Vec::new();
    for layer in &listed.layers {
        let packed = work.path(&format!("layer.{}", layers.len()));
        layers.push(repack_layer(packer, &saved, layer, packed)?);
    }
    let config = saved.join(&listed.config);
    let config = (Descriptor::config(sha256::of_file(&config, packer.stop)?), config);
    let descriptors: Vec<Descriptor> = layers.iter().map(|(descriptor, _)| descriptor.clone()).collect();
    let manifest = oci::manifest(&config.0, &descriptors);
    let described = Descriptor::manifest((sha256::of(&manifest), manifest.len() as u64));
    // Equal layers share a blob.
    let mut blobs: Vec<&(Descriptor, PathBuf)> = Vec::new();
    for blob in layers.iter().chain([&config]) {
        if blobs.iter().all(|(other, _)| other.digest() != blob.0.digest()) {
            blobs.push(blob);
        }
    }
    packer.tar(archive, |tarball| {
        packer.add_text(tarball, "oci-layout", oci::LAYOUT)?;
        for (blob, file) in blobs {
            packer.add(tarball, &blob.path(), 0o644, file)?;
        }
        packer.add_text(tarball, &described.path(), &manifest)?;
        packer.add_text(tarball, "index.json", &oci::index(&described, &full_name(image)))
    })?;
    Ok(config.0.digest().into())
}

/// Unpacks the output of `docker save`.
fn save(packer: &Packer<'_>, image: &str, into: &Path) -> Result<()> {
    fs::create_dir(into).cannot("create", into)?;
    let cmd = docker::save(image, packer.deadline);
    packer.exec.stream(&cmd, packer.log, packer.stop, &mut |from| {
        let mut archive = tar::Archive::new(from);
        archive.set_preserve_mtime(false);
        archive.unpack(into).map_err(|error| {
            let mut cause: &dyn std::error::Error = &error;
            while let Some(next) = cause.source() {
                cause = next;
            }
            Failure::step(format!("cannot unpack the image in {}: {cause}", into.display()))
        })
    })
}

/// Compresses a layer unless it already is: newer engines save layers as they were pulled.
fn repack_layer(packer: &Packer<'_>, saved: &Path, layer: &str, into: PathBuf) -> Result<(Descriptor, PathBuf)> {
    // Older engines save equal layers as symbolic links, which zstd refuses.
    let named = saved.join(layer);
    let layer = named.canonicalize().cannot("read", &named)?;
    if !layer.starts_with(saved.canonicalize().cannot("read", saved)?) {
        return Err(Failure::step(format!("docker save: {} leads out of the image", named.display())));
    }
    let mut magic = Vec::new();
    let file = open_own(&layer, File::options().read(true)).cannot("read", &layer)?;
    file.take(4).read_to_end(&mut magic).cannot("read", &layer)?;
    if let Some(packed) = Packed::of(&magic) {
        return Ok((Descriptor::layer(packed, sha256::of_file(&layer, packer.stop)?), layer));
    }
    let mut hashing = Hashing::new(File::create(&into).cannot("create", &into)?);
    packer.exec.stream(&zstd(&layer, packer.deadline), packer.log, packer.stop, &mut |from| {
        io::copy(from, &mut hashing).cannot("write", &into).map(drop)
    })?;
    Ok((Descriptor::layer(Packed::Zstd, hashing.finish()), into))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exec::Output;
    use crate::exec::fake::FakeExec;
    use crate::failure::Exit;
    use crate::kind::pack::tests::{files, folder, names, packer};
    use crate::signal::Stop;

    const CONFIG: &str = "{\"rootfs\": {}}";

    /// The output of an older engine: the third layer is a link to the first one.
    fn saved() -> String {
        saved_with("../1/layer.tar")
    }

    /// The same; the third layer is a link to `third`.
    fn saved_with(third: &str) -> String {
        let mut tar = tar::Builder::new(Vec::new());
        let list =
            r#"[{"Config":"c.json","RepoTags":["kafka:1"],"Layers":["1/layer.tar","2/layer.tar","3/layer.tar"]}]"#;
        for (name, text) in
            [("1/layer.tar", "one"), ("2/layer.tar", "two"), ("c.json", CONFIG), ("manifest.json", list)]
        {
            let mut header = tar::Header::new_gnu();
            header.set_size(text.len() as u64);
            header.set_mode(0o644);
            tar.append_data(&mut header, name, text.as_bytes()).unwrap();
        }
        let mut link = tar::Header::new_gnu();
        link.set_entry_type(tar::EntryType::Symlink);
        link.set_size(0);
        link.set_mode(0o777);
        tar.append_link(&mut link, "3/layer.tar", third).unwrap();
        String::from_utf8(tar.into_inner().unwrap()).unwrap()
    }

    /// An engine that saves it, and a fake zstd.
    fn answer(cmd: &Cmd) -> Result<Output> {
        let stdout = match cmd.program.to_str() {
            Some("docker") => saved(),
            _ => format!("packed {}", fs::read_to_string(cmd.args.last().unwrap()).unwrap()),
        };
        Ok(Output { code: Some(0), stdout, ..Output::default() })
    }

    #[test]
    fn layers_are_compressed_and_the_configuration_is_kept() {
        let (dir, exec, stop) = (folder("engine"), FakeExec::new(answer), Stop::default());
        let archive = pack(&packer(&dir, &exec, &stop), "kafka:1", "sha256:e").unwrap();
        assert_eq!((archive.name.as_str(), &archive.id), ("kafka:1", &oci::digest(&sha256::of(CONFIG))));
        let files = files(File::open(&archive.file).unwrap());
        assert_eq!(files["oci-layout"], oci::LAYOUT.as_bytes());
        let blob = |value: &serde_json::Value| {
            let digest = value["digest"].as_str().unwrap();
            let bytes = &files[&format!("blobs/{}", digest.replace(':', "/"))];
            assert_eq!(
                (oci::digest(&sha256::of(bytes)), value["size"].as_u64()),
                (digest.into(), Some(bytes.len() as u64))
            );
            String::from_utf8(bytes.clone()).unwrap()
        };
        let index: serde_json::Value = serde_json::from_slice(&files["index.json"]).unwrap();
        let name = &index["manifests"][0]["annotations"]["io.containerd.image.name"];
        assert_eq!(name, "docker.io/library/kafka:1");
        let manifest: serde_json::Value = serde_json::from_str(&blob(&index["manifests"][0])).unwrap();
        assert_eq!(blob(&manifest["config"]), CONFIG);
        let layers: Vec<String> = manifest["layers"].as_array().unwrap().iter().map(blob).collect();
        assert_eq!(layers, ["packed one", "packed two", "packed one"]);
        // Equal layers share a blob.
        assert_eq!(files.keys().filter(|name| name.starts_with("blobs/")).count(), 4);

        // Once per id and name.
        let asked = || exec.asked.lock().unwrap().len();
        let before = asked();
        assert_eq!(pack(&packer(&dir, &exec, &stop), "kafka:1", "sha256:e").unwrap(), archive);
        assert_eq!(asked(), before);
        let other = pack(&packer(&dir, &exec, &stop), "kafka:2", "sha256:e").unwrap();
        assert!(other.file != archive.file && other.id == archive.id && asked() > before);
        assert_eq!(names(archive.file.parent().unwrap()).len(), 4);
        fs::remove_dir_all(&dir).unwrap();
    }

    #[test]
    fn a_planted_archive_is_refused_by_name_and_its_target_stays() {
        let (dir, exec, stop) = (folder("planted"), FakeExec::new(answer), Stop::default());
        let pack = || pack(&packer(&dir.join("cache"), &exec, &stop), "kafka:1", "sha256:e");
        let archive = pack().unwrap();
        let precious = dir.join("precious");
        fs::write(&precious, "sha256:theirs").unwrap();
        let before = fs::metadata(&precious).unwrap().modified().unwrap();
        for file in [archive.file.clone(), archive.file.with_extension("id")] {
            let bytes = fs::read(&file).unwrap();
            let plant: [(&dyn Fn(), &str); 3] = [
                (&|| std::os::unix::fs::symlink(&precious, &file).unwrap(), "it is a symbolic link"),
                (&|| std::os::unix::fs::symlink(dir.join("absent"), &file).unwrap(), "it is a symbolic link"),
                (
                    &|| rustix::fs::mkfifoat(rustix::fs::CWD, &file, rustix::fs::Mode::RWXU).unwrap(),
                    "it is not a regular file",
                ),
            ];
            for (plant, why) in plant {
                fs::remove_file(&file).unwrap();
                plant();
                let failure = pack().unwrap_err();
                assert!(failure.message.contains(why) && failure.message.contains(file.to_str().unwrap()), "{failure}");
            }
            fs::remove_file(&file).unwrap();
            fs::write(&file, bytes).unwrap();
            assert_eq!(pack().unwrap(), archive);
        }
        assert_eq!(fs::read_to_string(&precious).unwrap(), "sha256:theirs");
        assert_eq!(fs::metadata(&precious).unwrap().modified().unwrap(), before);
        // The folders on the way too.
        for name in ["cache/images/packed", "cache/images"] {
            fs::rename(dir.join(name), dir.join("moved")).unwrap();
            std::os::unix::fs::symlink(dir.join("moved"), dir.join(name)).unwrap();
            let failure = pack().unwrap_err();
            assert!(failure.message.contains("it is a symbolic link"), "{failure}");
            fs::remove_file(dir.join(name)).unwrap();
            fs::rename(dir.join("moved"), dir.join(name)).unwrap();
        }
        fs::remove_dir_all(&dir).unwrap();
    }

    #[test]
    fn a_layer_that_leads_out_of_the_image_is_refused() {
        let (dir, stop) = (folder("outside"), Stop::default());
        let outside = dir.join("outside");
        fs::write(&outside, "theirs").unwrap();
        let stdout = saved_with(outside.to_str().unwrap());
        let exec = FakeExec::new(move |cmd: &Cmd| match cmd.program.to_str() {
            Some("docker") => Ok(Output { code: Some(0), stdout: stdout.clone(), ..Output::default() }),
            _ => answer(cmd),
        });
        let failure = pack(&packer(&dir, &exec, &stop), "kafka:1", "sha256:e").unwrap_err();
        assert!(failure.message.contains("3/layer.tar leads out of the image"), "{failure}");
        fs::remove_dir_all(&dir).unwrap();
    }

    #[test]
    fn a_failure_leaves_no_files() {
        let (dir, stop) = (folder("stopped"), Stop::default());
        let output = |code, stdout: &str| Output { code: Some(code), stdout: stdout.into(), ..Output::default() };
        let no_image = FakeExec::new(|_| Ok(output(1, "no such image")));
        let noise = FakeExec::new(|_| Ok(output(0, &"noise".repeat(300))));
        let nothing = FakeExec::new(|_| Ok(output(0, "")));
        let broken = FakeExec::new(|cmd: &Cmd| if cmd.program == "zstd" { Ok(output(1, "")) } else { answer(cmd) });
        let interrupted =
            FakeExec::new(|cmd: &Cmd| if cmd.program == "zstd" { Err(Failure::interrupted()) } else { answer(cmd) });
        let execs: [(&dyn crate::exec::Exec, &str); 5] = [
            (&no_image, "docker exited with 1"),
            (&noise, "cannot unpack the image in "),
            (&nothing, "cannot read "),
            (&broken, "zstd exited with 1"),
            (&interrupted, "interrupted"),
        ];
        for (exec, message) in execs {
            let failure = pack(&packer(&dir, exec, &stop), "kafka:1", "sha256:e").unwrap_err();
            assert!(failure.message.contains(message), "{failure}");
            assert_eq!(names(&dir.join("images/packed")), Vec::<String>::new(), "{message}");
        }
        stop.cancel();
        let exec = FakeExec::new(answer);
        let failure = pack(&packer(&dir, &exec, &stop), "kafka:1", "sha256:e").unwrap_err();
        assert_eq!(failure.exit, Exit::Interrupted);
        assert_eq!(names(&dir.join("images/packed")), Vec::<String>::new());
        fs::remove_dir_all(&dir).unwrap();
    }
}
