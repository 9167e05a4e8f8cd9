package main

import (
	"github.com/spf13/cobra"
	"k8s.io/kubernetes/cmd/kubelet/app"
)

func kubeletCommand() *cobra.Command { return app.NewKubeletCommand() }
