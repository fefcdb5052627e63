//! The JSON files of images: the OCI image layout, which `ctr images import` reads, and the format of `docker save` and
//! `docker load`. Pure.

use serde::{Deserialize, Serialize};

/// The content of `oci-layout`, which marks an OCI image layout.
pub const LAYOUT: &str = "{\"imageLayoutVersion\": \"1.0.0\"}\n";

const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

/// How a layer is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Packed {
    /// With gzip.
    Gzip,
    /// With zstd.
    Zstd,
}

impl Packed {
    /// The compression by a layer's first four bytes; `None` if it is not compressed.
    pub fn of(magic: &[u8]) -> Option<Self> {
        match magic {
            [0x1f, 0x8b, ..] => Some(Packed::Gzip),
            [0x28, 0xb5, 0x2f, 0xfd, ..] => Some(Packed::Zstd),
            _ => None,
        }
    }
}

/// Describes a blob of an image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    media_type: &'static str,
    digest: String,
    size: u64,
}

impl Descriptor {
    /// Describes a layer with this SHA-256 and size.
    pub fn layer(packed: Packed, (hash, size): (String, u64)) -> Self {
        let media_type = match packed {
            Packed::Gzip => "application/vnd.oci.image.layer.v1.tar+gzip",
            Packed::Zstd => "application/vnd.oci.image.layer.v1.tar+zstd",
        };
        Descriptor { media_type, digest: digest(&hash), size }
    }

    /// Describes an image configuration.
    pub fn config((hash, size): (String, u64)) -> Self {
        Descriptor { media_type: CONFIG, digest: digest(&hash), size }
    }

    /// Describes an image manifest.
    pub fn manifest((hash, size): (String, u64)) -> Self {
        Descriptor { media_type: MANIFEST, digest: digest(&hash), size }
    }

    /// The blob's digest. The digest of a configuration is the image's id in the nodes.
    pub fn digest(&self) -> &str {
        &self.digest
    }

    /// The blob's path in an image layout.
    pub fn path(&self) -> String {
        format!("blobs/{}", self.digest.replace(':', "/"))
    }
}

/// A SHA-256 in hex, as written in images.
pub fn digest(hash: &str) -> String {
    format!("sha256:{hash}")
}

/// The manifest of an image.
pub fn manifest(config: &Descriptor, layers: &[Descriptor]) -> String {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Manifest<'a> {
        schema_version: u8,
        media_type: &'static str,
        config: &'a Descriptor,
        layers: &'a [Descriptor],
    }
    line(&Manifest { schema_version: 2, media_type: MANIFEST, config, layers })
}

/// The index of an archive with one image, which containerd will call `name`.
pub fn index(manifest: &Descriptor, name: &str) -> String {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Index<'a> {
        schema_version: u8,
        manifests: [Named<'a>; 1],
    }
    #[derive(Serialize)]
    struct Named<'a> {
        #[serde(flatten)]
        manifest: &'a Descriptor,
        annotations: Annotations<'a>,
    }
    #[derive(Serialize)]
    struct Annotations<'a> {
        #[serde(rename = "io.containerd.image.name")]
        name: &'a str,
    }
    line(&Index { schema_version: 2, manifests: [Named { manifest, annotations: Annotations { name } }] })
}

/// The configuration of an image that contains one program, `/clients`, in a layer with the SHA-256 `layer`. It is
/// reproducible: no date, machine or user is in it.
pub fn config_of_program(architecture: &str, layer: &str) -> String {
    let config = r#"{"User":"1000:1000","Entrypoint":["/clients"],"Labels":{"kafka-lab.made-from":"sources"}}"#;
    let rootfs = format!(r#"{{"type":"layers","diff_ids":["{}"]}}"#, digest(layer));
    let created = "1970-01-01T00:00:00Z";
    let head = format!(r#""architecture":"{architecture}","os":"linux","created":"{created}""#);
    format!("{{{head},\"config\":{config},\"rootfs\":{rootfs}}}\n")
}

/// An image in the `manifest.json` of `docker save` and `docker load`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Saved {
    /// The path of its configuration.
    pub config: String,
    /// Its names, with tags.
    pub repo_tags: Option<Vec<String>>,
    /// The paths of its layers, the lowest first.
    pub layers: Vec<String>,
}

/// Reads the first image of a `manifest.json`.
pub fn parse_saved(json: &[u8]) -> Option<Saved> {
    serde_json::from_slice::<Vec<Saved>>(json).ok()?.into_iter().next()
}

/// A `manifest.json` with one image.
pub fn saved(image: &Saved) -> String {
    line(&[image])
}

fn line(value: &impl Serialize) -> String {
    serde_json::to_string(value).unwrap_or_default() + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_compression_is_in_the_first_bytes() {
        let magic = |bytes: &[u8]| Packed::of(bytes);
        assert_eq!(magic(b"\x1f\x8b\x08\0"), Some(Packed::Gzip));
        assert_eq!(magic(b"\x28\xb5\x2f\xfd"), Some(Packed::Zstd));
        // A tar begins with a name; an empty one is all zeros.
        for unpacked in [&b"etc/"[..], b"\0\0\0\0", b"\x28\xb5\x2f", b"\x1f", b""] {
            assert_eq!(magic(unpacked), None, "{unpacked:?}");
        }
        let layer = |packed| Descriptor::layer(packed, ("ab".into(), 1)).media_type;
        assert_eq!(layer(Packed::Gzip), "application/vnd.oci.image.layer.v1.tar+gzip");
        assert_eq!(layer(Packed::Zstd), "application/vnd.oci.image.layer.v1.tar+zstd");
    }

    #[test]
    fn a_manifest_and_an_index_follow_the_standard() {
        let (config, layer) = (Descriptor::config(("c0".into(), 7)), Descriptor::layer(Packed::Zstd, ("1a".into(), 9)));
        assert_eq!(
            manifest(&config, &[layer]),
            concat!(
                r#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","#,
                r#""config":{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"sha256:c0","size":7},"#,
                r#""layers":[{"mediaType":"application/vnd.oci.image.layer.v1.tar+zstd","digest":"sha256:1a","#,
                "\"size\":9}]}\n"
            )
        );
        let manifest = Descriptor::manifest(("ef".into(), 3));
        assert_eq!(manifest.path(), "blobs/sha256/ef");
        assert_eq!(
            index(&manifest, "docker.io/library/kafka:1"),
            concat!(
                r#"{"schemaVersion":2,"manifests":[{"mediaType":"application/vnd.oci.image.manifest.v1+json","#,
                r#""digest":"sha256:ef","size":3,"#,
                r#""annotations":{"io.containerd.image.name":"docker.io/library/kafka:1"}}]}"#,
                "\n"
            )
        );
    }

    #[test]
    fn the_configuration_of_a_program_is_reproducible() {
        let config: serde_json::Value = serde_json::from_str(&config_of_program("arm64", "1a")).unwrap();
        assert_eq!((&config["architecture"], &config["os"]), (&"arm64".into(), &"linux".into()));
        assert_eq!(config["created"], "1970-01-01T00:00:00Z");
        assert_eq!(
            (&config["config"]["User"], &config["config"]["Entrypoint"][0]),
            (&"1000:1000".into(), &"/clients".into())
        );
        assert_eq!(config["config"]["Labels"]["kafka-lab.made-from"], "sources");
        assert_eq!(config["rootfs"]["diff_ids"], serde_json::json!(["sha256:1a"]));
    }

    #[test]
    fn the_manifest_of_docker_save_is_read_and_written() {
        let json = r#"[{"Config":"ab.json","RepoTags":null,"Layers":["1/layer.tar","2/layer.tar"],"LayerSources":{}}]"#;
        let read = parse_saved(json.as_bytes()).unwrap();
        assert_eq!((read.config.as_str(), read.layers.len(), &read.repo_tags), ("ab.json", 2, &None));
        let image = Saved { repo_tags: Some(vec!["k:1".into(), "k:lab".into()]), ..read };
        assert_eq!(parse_saved(saved(&image).as_bytes()), Some(image));
        for odd in ["", "[]", "{}", r#"[{"Config":1}]"#] {
            assert_eq!(parse_saved(odd.as_bytes()), None, "{odd}");
        }
    }
}
