//go:build mage

package main

import (
	//mage:import
	_ "github.com/hallmark-build/hallmark/targets"
)
