//go:build cgo

package main

// #include "checksum.h"
import "C"

import "unsafe"

const language = "C"

func checksum(data []byte) uint32 {
	return uint32(C.checksum((*C.uchar)(unsafe.Pointer(&data[0])), C.size_t(len(data))))
}
