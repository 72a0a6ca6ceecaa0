package main

import (
	"os"
	"syscall"
	"unsafe"
)

// show prints the text, or, in a program for a window that nobody gave a
// standard output, shows it in a message box.
func show(text string) {
	if _, err := os.Stdout.WriteString(text + "\r\n"); err == nil {
		return
	}
	message, err := syscall.UTF16PtrFromString(text)
	if err != nil {
		return
	}
	title, err := syscall.UTF16PtrFromString("hello")
	if err != nil {
		return
	}
	syscall.NewLazyDLL("user32.dll").NewProc("MessageBoxW").Call(0,
		uintptr(unsafe.Pointer(message)), uintptr(unsafe.Pointer(title)), 0)
}
