// Reads a list of objects, and writes each with the defaults that the API servers of Kubernetes and
// OpenShift set.
//
// recording.py beside this builds and runs it within a checkout of openshift-apiserver.
package main

import (
	"encoding/json"
	"log"
	"os"

	"k8s.io/apimachinery/pkg/runtime"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	"k8s.io/kubernetes/pkg/api/legacyscheme"
	_ "k8s.io/kubernetes/pkg/apis/apps/install"
	_ "k8s.io/kubernetes/pkg/apis/batch/install"
	_ "k8s.io/kubernetes/pkg/apis/core/install"
	_ "k8s.io/kubernetes/pkg/apis/networking/install"

	"github.com/openshift/openshift-apiserver/pkg/api/install"
)

func stored(written json.RawMessage) (runtime.Object, error) {
	object, _, err := legacyscheme.Codecs.UniversalDeserializer().Decode(written, nil, nil)
	if err == nil {
		legacyscheme.Scheme.Default(object)
	}
	return object, err
}

func main() {
	install.InstallInternalOpenShift(legacyscheme.Scheme)
	utilruntime.Must(json.NewEncoder(os.Stdout).Encode(all()))
}

func all() []runtime.Object {
	var written []json.RawMessage
	var found []runtime.Object
	utilruntime.Must(json.NewDecoder(os.Stdin).Decode(&written))
	for _, one := range written {
		object, err := stored(one)
		if err != nil {
			log.Fatalf("%s: %v", one, err)
		}
		found = append(found, object)
	}
	return found
}
