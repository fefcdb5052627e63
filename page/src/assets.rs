//! The files of the page, which are part of this program, and the page made of them.

use std::io::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use flate2::Compression;
use flate2::write::GzEncoder;

/// The page, with places for what each way to show it needs.
const INDEX: &str = include_str!("../web/index.html");

/// The style sheet.
pub const STYLE: &str = include_str!("../web/style.css");

/// A module: the name that others import it by, its file, and its text.
pub struct Module {
    name: &'static str,
    /// Name of its file.
    pub file: &'static str,
    /// Its text.
    pub text: &'static str,
}

macro_rules! modules {
    ($($name:literal),+ $(,)?) => {
        [$(Module {
            name: concat!("#", $name),
            file: concat!($name, ".js"),
            text: include_str!(concat!("../web/", $name, ".js")),
        }),+]
    };
}

/// The modules; the first one is where the page begins.
pub const MODULES: &[Module] = &modules![
    "main", "actions", "brokers", "charts", "clock", "dom", "faults", "journey", "lanes", "ledger", "log", "paint",
    "reducer", "series", "source", "timeline", "trace", "virtual", "words"
];

/// How the page is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// A running lab.
    Live,
    /// A recording.
    Replay,
}

/// Returns the page as a server shows it. Scripts in it bear `nonce`.
pub fn served(mode: Mode, nonce: &str) -> String {
    let mode = match mode {
        Mode::Live => "live",
        Mode::Replay => "replay",
    };
    let map = import_map(|module| format!("./{}", module.file));
    let modules = format!(
        "<script type=\"importmap\" nonce=\"{nonce}\">{map}</script>\n\
         <script type=\"module\" src=\"./{}\"></script>",
        MODULES[0].file
    );
    fill("", mode, "<link rel=\"stylesheet\" href=\"style.css\">", &modules, "")
}

/// Returns the page as one file with a recording in it: compressed, in base64.
pub fn report(recording: &str) -> String {
    let csp = "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'; \
               script-src 'unsafe-inline' data:; img-src data:; base-uri 'none'; form-action 'none'\">";
    let style = format!("<style>{STYLE}</style>");
    let map = import_map(|module| format!("data:text/javascript;base64,{}", STANDARD.encode(module.text)));
    let modules = format!(
        "<script type=\"importmap\">{map}</script>\n<script type=\"module\">import \"{}\";</script>",
        MODULES[0].name
    );
    let recording = format!(
        "<script type=\"application/x-ndjson+gzip\" id=\"recording\">{}</script>",
        STANDARD.encode(packed(recording.as_bytes()))
    );
    fill(csp, "report", &style, &modules, &recording)
}

/// Compresses what is sent or kept: gzip.
pub fn packed(bytes: &[u8]) -> Vec<u8> {
    let mut packed = GzEncoder::new(Vec::new(), Compression::best());
    // Writing to memory does not fail.
    let written = packed.write_all(bytes).and_then(|()| packed.finish());
    written.unwrap_or_default()
}

fn import_map(address: impl Fn(&Module) -> String) -> String {
    let imports: Vec<String> =
        MODULES.iter().map(|module| format!("\"{}\":\"{}\"", module.name, address(module))).collect();
    format!("{{\"imports\":{{{}}}}}", imports.join(","))
}

fn fill(csp: &str, mode: &str, style: &str, modules: &str, recording: &str) -> String {
    let index = INDEX.replace("<!--csp-->", csp).replace("{{mode}}", mode).replace("<!--style-->", style);
    index.replace("<!--modules-->", modules).replace("<!--recording-->", recording)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_of_the_page_is_part_of_it() {
        let web = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("web");
        let entries = std::fs::read_dir(web).into_iter().flatten().flatten();
        let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
        let mut found: Vec<String> = names.filter(|name| name.ends_with(".js")).collect();
        let mut known: Vec<&str> = MODULES.iter().map(|module| module.file).collect();
        found.sort();
        known.sort_unstable();
        assert_eq!(found, known);
        let texts = MODULES.iter().map(|module| module.text).chain([STYLE, INDEX]);
        let sent: usize = texts.map(|text| packed(text.as_bytes()).len()).sum();
        assert!(sent <= 75_000, "{sent} bytes are sent");
    }

    #[test]
    fn each_way_to_show_it_fills_every_place() {
        for page in [served(Mode::Live, "n"), served(Mode::Replay, "n"), report("film")] {
            assert!(!page.contains("{{") && !page.contains("<!--csp") && !page.contains("<!--re"), "{page}");
            assert_eq!(page.matches("type=\"importmap\"").count(), 1);
        }
        assert!(served(Mode::Live, "abc").contains("data-mode=\"live\""));
        assert!(!report("").contains("src=") && !report("").contains("href=\"http"));
    }
}
