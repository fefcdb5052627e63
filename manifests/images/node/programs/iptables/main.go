// iptables, and its companions by their names: finds out which of the two
// kinds of rules the node uses, points every name at that kind, and becomes it.
//
// The kubelet marks the kind with a chain of its own. A mark in neither means
// that the node has not come so far: then the kind with more rules is taken,
// as kind's entrypoint does on the node.
package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
)

const folder = "/usr/sbin"

var names = []string{
	"iptables", "iptables-save", "iptables-restore",
	"ip6tables", "ip6tables-save", "ip6tables-restore",
}

func main() {
	name := filepath.Base(os.Args[0])
	kind := chosen()
	for _, n := range names {
		// In a read-only image every call decides anew; it only takes longer.
		aside := filepath.Join(folder, "."+n)
		if os.Symlink(kind, aside) == nil {
			os.Rename(aside, filepath.Join(folder, n))
		}
	}
	err := syscall.Exec(filepath.Join(folder, kind), append([]string{name}, os.Args[1:]...), os.Environ())
	fmt.Fprintf(os.Stderr, "%s: %v\n", name, err)
	os.Exit(1)
}

func chosen() string {
	nft, legacy := rules("xtables-nft-multi"), rules("xtables-legacy-multi")
	for _, mark := range []string{"KUBE-IPTABLES-HINT", "KUBE-KUBELET-CANARY"} {
		if bytes.Contains(nft, []byte(mark)) {
			return "xtables-nft-multi"
		}
		if bytes.Contains(legacy, []byte(mark)) {
			return "xtables-legacy-multi"
		}
	}
	if bytes.Count(nft, []byte("\n-")) > bytes.Count(legacy, []byte("\n-")) {
		return "xtables-nft-multi"
	}
	return "xtables-legacy-multi"
}

func rules(kind string) []byte {
	out, _ := exec.Command(filepath.Join(folder, kind), "iptables-save").Output()
	return out
}
