// network joins the nodes' pod networks. On every node it
//
//   - writes the CNI configuration from the node's own spec.podCIDR,
//   - keeps one route to every other node's pod network,
//   - hides pods behind the node's address when they speak to the world.
//
// It follows the Node objects, so nodes that come, go or change their address
// (as a restarted node container may) are followed too; and it puts everything
// back every few seconds, so what a restart swept away returns by itself.
package main

import (
	"bytes"
	"context"
	"fmt"
	"log"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/vishvananda/netlink"

	"kafka-lab/node/programs/api"
)

const (
	conflist = "/etc/cni/net.d/10-kafka-lab.conflist"
	chain    = "KAFKA-LAB-MASQ"
	// Marks our routes in the kernel's table, so that stale ones are told from others'.
	protocol = netlink.RouteProtocol(107)
	again    = 5 * time.Second
)

// node is what matters here of a Kubernetes Node.
type node struct {
	Spec struct {
		PodCIDR string `json:"podCIDR"`
	} `json:"spec"`
	Status struct {
		Addresses []struct {
			Type    string `json:"type"`
			Address string `json:"address"`
		} `json:"addresses"`
	} `json:"status"`
}

func (n node) address() net.IP {
	for _, a := range n.Status.Addresses {
		if ip := net.ParseIP(a.Address); a.Type == "InternalIP" && ip.To4() != nil {
			return ip.To4()
		}
	}
	return nil
}

func main() {
	log.SetFlags(0)
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()

	own := os.Getenv("NODE_NAME")
	podSubnet := os.Getenv("POD_SUBNET")
	if own == "" || podSubnet == "" {
		log.Fatal("NODE_NAME and POD_SUBNET are required")
	}
	nodes := make(chan map[string]node)
	go api.Follow(ctx, "/api/v1/nodes", nodes)

	known := map[string]node{}
	tick := time.NewTicker(again)
	last := ""
	for {
		select {
		case <-ctx.Done():
			// Routes and rules stay: pods go on while this program is replaced.
			return
		case known = <-nodes:
		case <-tick.C:
		}
		if len(known) == 0 {
			continue
		}
		state := "in place"
		if err := apply(own, podSubnet, known); err != nil {
			state = err.Error()
		}
		if state = fmt.Sprintf("%d nodes: %s", len(known), state); state != last {
			log.Print(state)
			last = state
		}
	}
}

func apply(own, podSubnet string, nodes map[string]node) error {
	self, ok := nodes[own]
	if !ok || self.Spec.PodCIDR == "" {
		return fmt.Errorf("no podCIDR for %s yet", own)
	}
	if err := routes(own, nodes); err != nil {
		return err
	}
	if err := masquerade(podSubnet); err != nil {
		return err
	}
	// Last: with this file the node turns Ready, and pods come.
	return configure(self.Spec.PodCIDR)
}

func routes(own string, nodes map[string]node) error {
	wanted := map[string]bool{}
	for name, n := range nodes {
		ip := n.address()
		if name == own || ip == nil || n.Spec.PodCIDR == "" {
			continue
		}
		_, cidr, err := net.ParseCIDR(n.Spec.PodCIDR)
		if err != nil || cidr.IP.To4() == nil {
			return fmt.Errorf("podCIDR %q of %s is not IPv4", n.Spec.PodCIDR, name)
		}
		wanted[cidr.String()] = true
		if err := netlink.RouteReplace(&netlink.Route{Dst: cidr, Gw: ip, Protocol: protocol}); err != nil {
			return fmt.Errorf("route to %s via %s: %w", cidr, ip, err)
		}
	}
	present, err := netlink.RouteListFiltered(netlink.FAMILY_V4, &netlink.Route{Protocol: protocol}, netlink.RT_FILTER_PROTOCOL)
	if err != nil {
		return fmt.Errorf("list routes: %w", err)
	}
	for _, r := range present {
		if r.Dst != nil && !wanted[r.Dst.String()] {
			if err := netlink.RouteDel(&r); err != nil {
				return fmt.Errorf("stale route to %s: %w", r.Dst, err)
			}
		}
	}
	return nil
}

// masquerade gives what pods send to the world the node's address; between
// pods the pod's own address stays.
func masquerade(podSubnet string) error {
	jump := []string{"POSTROUTING", "-s", podSubnet, "!", "-d", podSubnet, "-j", chain}
	if iptables(nil, "iptables", append([]string{"-w", "-t", "nat", "-C"}, jump...)...) == nil {
		return nil
	}
	rules := "*nat\n:" + chain + " - [0:0]\n" +
		"-A " + chain + " -m addrtype --dst-type LOCAL -j RETURN\n" +
		"-A " + chain + " -j MASQUERADE\n" +
		"-A " + strings.Join(jump, " ") + "\nCOMMIT\n"
	return iptables([]byte(rules), "iptables-restore", "-w", "--noflush")
}

func iptables(input []byte, name string, args ...string) error {
	cmd := exec.Command("/usr/sbin/"+name, args...)
	cmd.Stdin = bytes.NewReader(input)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s", name, err, bytes.TrimSpace(out))
	}
	return nil
}

func configure(podCIDR string) error {
	link, err := uplink()
	if err != nil {
		return err
	}
	text := fmt.Sprintf(`{
  "cniVersion": "0.3.1",
  "name": "kafka-lab",
  "plugins": [
    {
      "type": "ptp",
      "ipMasq": false,
      "mtu": %d,
      "ipam": {
        "type": "host-local",
        "dataDir": "/run/cni-ipam-state",
        "ranges": [[{"subnet": %q}]],
        "routes": [{"dst": "0.0.0.0/0"}]
      }
    },
    {"type": "portmap", "capabilities": {"portMappings": true}}
  ]
}
`, link.Attrs().MTU, podCIDR)
	if old, err := os.ReadFile(conflist); err == nil && string(old) == text {
		return nil
	}
	// No reader ever sees half a file.
	aside := filepath.Join(filepath.Dir(conflist), ".kafka-lab")
	if err := os.WriteFile(aside, []byte(text), 0o644); err != nil {
		return err
	}
	return os.Rename(aside, conflist)
}

func uplink() (netlink.Link, error) {
	all, err := netlink.RouteList(nil, netlink.FAMILY_V4)
	if err != nil {
		return nil, fmt.Errorf("list routes: %w", err)
	}
	for _, r := range all {
		if r.Dst == nil || r.Dst.IP.IsUnspecified() {
			return netlink.LinkByIndex(r.LinkIndex)
		}
	}
	return nil, fmt.Errorf("no default route")
}
