package main

import (
	"context"

	"github.com/spf13/cobra"
	"k8s.io/kubernetes/cmd/kubelet/app"
)

// The kubelet installs its own signal handler; handing it a context that has
// one already makes it panic.
func kubeletCommand() *cobra.Command { return app.NewKubeletCommand(context.Background()) }
