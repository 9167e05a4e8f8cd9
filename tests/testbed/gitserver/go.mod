module gitops-hooks/tests/testbed/gitserver

go 1.26.0
