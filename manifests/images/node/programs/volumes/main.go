// volumes makes the volumes of the default storage class: folders of the node
// that the scheduler chose for a claim's first pod. It runs on every node and
// sees to its own node's only, so a volume takes no longer than making a
// folder: no other pod has to start for it.
//
// It keeps to what Kubernetes asks of an external provisioner: the scheduler
// names the node in the claim, the volume names claim and provisioner, and the
// volume of a claim that is gone is removed when its class says so.
package main

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"kafka-lab/node/programs/api"
)

const (
	// The provisioner's name in the StorageClass.
	provisioner = "kafka-lab/node-volumes"
	selected    = "volume.kubernetes.io/selected-node"
	wanted      = "volume.kubernetes.io/storage-provisioner"
	madeBy      = "pv.kubernetes.io/provisioned-by"
	hostname    = "kubernetes.io/hostname"
	collection  = "/api/v1/persistentvolumes"
	again       = 5 * time.Second
)

type meta struct {
	Name        string            `json:"name,omitempty"`
	Namespace   string            `json:"namespace,omitempty"`
	UID         string            `json:"uid,omitempty"`
	Annotations map[string]string `json:"annotations,omitempty"`
	Deleted     string            `json:"deletionTimestamp,omitempty"`
}

// claim is what matters here of a PersistentVolumeClaim.
type claim struct {
	Metadata meta `json:"metadata"`
	Spec     struct {
		AccessModes []string `json:"accessModes"`
		Class       string   `json:"storageClassName"`
		Mode        string   `json:"volumeMode"`
		Volume      string   `json:"volumeName"`
		Selector    any      `json:"selector"`
		Resources   struct {
			Requests map[string]string `json:"requests"`
		} `json:"resources"`
	} `json:"spec"`
}

// volume is what matters here of a PersistentVolume.
type volume struct {
	Metadata meta `json:"metadata"`
	Spec     struct {
		Reclaim  string `json:"persistentVolumeReclaimPolicy"`
		HostPath *struct {
			Path string `json:"path"`
		} `json:"hostPath"`
		Affinity struct {
			Required struct {
				Terms []struct {
					Expressions []struct {
						Key    string   `json:"key"`
						Values []string `json:"values"`
					} `json:"matchExpressions"`
				} `json:"nodeSelectorTerms"`
			} `json:"required"`
		} `json:"nodeAffinity"`
	} `json:"spec"`
	Status struct {
		Phase string `json:"phase"`
	} `json:"status"`
}

// storage is one node's volumes: folders below root.
type storage struct {
	node, root string
	// Why each claim has no volume, as it was last told.
	told map[string]string
}

func main() {
	log.SetFlags(0)
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	own := storage{node: os.Getenv("NODE_NAME"), root: filepath.Clean(os.Getenv("VOLUMES")), told: map[string]string{}}
	if own.node == "" || !filepath.IsAbs(own.root) {
		log.Fatal("NODE_NAME and VOLUMES, an absolute path, are required")
	}
	claims, volumes := make(chan map[string]claim), make(chan map[string]volume)
	go api.Follow(ctx, "/api/v1/persistentvolumeclaims", claims)
	go api.Follow(ctx, collection, volumes)
	var pending map[string]claim
	var present map[string]volume
	tick := time.NewTicker(again)
	for {
		select {
		case <-ctx.Done():
			return
		case pending = <-claims:
		case present = <-volumes:
		case <-tick.C:
			// What failed is tried again.
		}
		// Without both lists nobody knows what is missing.
		if pending == nil || present == nil {
			continue
		}
		for _, c := range pending {
			if _, made := present["pvc-"+c.Metadata.UID]; made || !own.chosen(c) {
				continue
			}
			if err := own.make(ctx, c); err != nil {
				own.complain(ctx, c, err)
			}
		}
		for _, v := range present {
			if !own.released(v) {
				continue
			}
			if err := own.remove(ctx, v); err != nil {
				log.Printf("%s: %v; again in %s", v.Metadata.Name, err, again)
			}
		}
	}
}

// chosen tells whether a claim waits for a volume of this node.
func (s storage) chosen(c claim) bool {
	a := c.Metadata.Annotations
	return a[wanted] == provisioner && a[selected] == s.node && c.Spec.Volume == "" && c.Metadata.Deleted == ""
}

// make makes the folder and the volume that describes it.
func (s storage) make(ctx context.Context, c claim) error {
	if c.Spec.Mode == "Block" {
		return errors.New("a folder cannot be a block device")
	}
	if c.Spec.Selector != nil {
		return errors.New("a claim with a selector is not supported")
	}
	var class struct {
		Reclaim string `json:"reclaimPolicy"`
	}
	if err := api.Get(ctx, "/apis/storage.k8s.io/v1/storageclasses/"+c.Spec.Class, &class); err != nil {
		return err
	}
	name := "pvc-" + c.Metadata.UID
	// Readable for people who look at the node; none of the three can hold a slash.
	path := filepath.Join(s.root, strings.Join([]string{name, c.Metadata.Namespace, c.Metadata.Name}, "_"))
	if err := os.MkdirAll(path, 0o777); err != nil {
		return err
	}
	// Pods run as anybody; the umask does not count.
	if err := os.Chmod(path, 0o777); err != nil {
		return err
	}
	type object = map[string]any
	err := api.Create(ctx, collection, object{
		"apiVersion": "v1",
		"kind":       "PersistentVolume",
		"metadata":   meta{Name: name, Annotations: map[string]string{madeBy: provisioner}},
		"spec": object{
			"accessModes":                   c.Spec.AccessModes,
			"capacity":                      object{"storage": c.Spec.Resources.Requests["storage"]},
			"storageClassName":              c.Spec.Class,
			"persistentVolumeReclaimPolicy": class.Reclaim,
			"hostPath":                      object{"path": path, "type": "Directory"},
			"claimRef": object{
				"apiVersion": "v1", "kind": "PersistentVolumeClaim",
				"namespace": c.Metadata.Namespace, "name": c.Metadata.Name, "uid": c.Metadata.UID,
			},
			"nodeAffinity": object{"required": object{"nodeSelectorTerms": []object{{
				"matchExpressions": []object{{"key": hostname, "operator": "In", "values": []string{s.node}}},
			}}}},
		},
	})
	// The list of volumes may lag behind what we did a moment ago.
	if api.Is(err, http.StatusConflict) {
		return nil
	}
	if err == nil {
		log.Printf("%s made for %s/%s", path, c.Metadata.Namespace, c.Metadata.Name)
	}
	return err
}

// complain tells those who look at the claim why it has no volume; the same only once.
func (s storage) complain(ctx context.Context, c claim, why error) {
	if s.told[c.Metadata.UID] == why.Error() {
		return
	}
	s.told[c.Metadata.UID] = why.Error()
	log.Printf("%s/%s: %v; again in %s", c.Metadata.Namespace, c.Metadata.Name, why, again)
	now := time.Now().UTC().Format(time.RFC3339)
	events := "/api/v1/namespaces/" + c.Metadata.Namespace + "/events"
	err := api.Create(ctx, events, map[string]any{
		"metadata": map[string]any{"generateName": c.Metadata.Name + "."},
		"type":     "Warning", "reason": "ProvisioningFailed", "message": fmt.Sprintf("on %s: %v", s.node, why),
		"source": map[string]any{"component": provisioner, "host": s.node}, "count": 1,
		"firstTimestamp": now, "lastTimestamp": now,
		"involvedObject": map[string]any{
			"apiVersion": "v1", "kind": "PersistentVolumeClaim",
			"namespace": c.Metadata.Namespace, "name": c.Metadata.Name, "uid": c.Metadata.UID,
		},
	})
	if err != nil {
		log.Printf("and no event of it: %v", err)
	}
}

// released tells whether a volume of this node is to be removed.
func (s storage) released(v volume) bool {
	if v.Metadata.Annotations[madeBy] != provisioner || v.Status.Phase != "Released" || v.Spec.Reclaim != "Delete" ||
		v.Metadata.Deleted != "" {
		return false
	}
	for _, term := range v.Spec.Affinity.Required.Terms {
		for _, e := range term.Expressions {
			if e.Key == hostname && len(e.Values) == 1 && e.Values[0] == s.node {
				return true
			}
		}
	}
	return false
}

// remove removes the folder with all that is in it, and then the volume.
func (s storage) remove(ctx context.Context, v volume) error {
	// Whoever may edit volumes does not thereby get to remove any folder of the node.
	if v.Spec.HostPath == nil || filepath.Dir(filepath.Clean(v.Spec.HostPath.Path)) != s.root {
		return fmt.Errorf("it is not a folder of %s", s.root)
	}
	if err := os.RemoveAll(v.Spec.HostPath.Path); err != nil {
		return err
	}
	err := api.Delete(ctx, collection+"/"+v.Metadata.Name, v.Metadata.UID)
	if api.Is(err, http.StatusNotFound) || api.Is(err, http.StatusConflict) {
		return nil
	}
	if err == nil {
		log.Printf("%s removed", v.Spec.HostPath.Path)
	}
	return err
}
