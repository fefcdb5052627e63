//! Passes on where librdkafka and its libraries were built, so that the program can compile `rdkafka_performance` from
//! the same sources and link it with the same library.

fn main() {
    for (from, to) in
        [("DEP_RDKAFKA_ROOT", "LIBRDKAFKA_DIR"), ("DEP_Z_ROOT", "LIBZ_DIR"), ("DEP_ZSTD_ROOT", "LIBZSTD_DIR")]
    {
        println!("cargo:rerun-if-env-changed={from}");
        println!("cargo:rustc-env={to}={}", std::env::var(from).unwrap_or_default());
    }
}
