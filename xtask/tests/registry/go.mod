// An image registry for tests, built and started by xtask/tests/it/common/registry.rs. Later releases need Go 1.25.
module kafka-lab/tests/registry

go 1.24.0

require github.com/google/go-containerregistry v0.20.7
