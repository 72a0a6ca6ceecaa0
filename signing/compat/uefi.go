package compat

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"unicode/utf16"
)

// withDB returns an image of OVMF's variables, which must hold none, with
// certificates in the variable db. A kernel takes these into its keyring
// .platform, whether Secure Boot is on or not.
//
// The image is a firmware volume (UEFI PI 1.7, volume 3, 3.2.1) with a variable
// store (edk2, MdeModulePkg/Include/Guid/VariableFormat.h):
//
//	16 bytes 0
//	16       GUID of volumes with variables
//	 8       length of the volume
//	 4       "_FVH"
//	 4       attributes
//	 2       length of the volume's header
//	         …, up to that length
//	16       GUID of stores with authenticated variables
//	 4       size of the store, with these 28 bytes
//	 1       0x5a, formatted
//	 1       0xfe, healthy
//	 6       reserved
//	         variables, each at a multiple of 4:
//	     2   0x55aa
//	     1   0x3f, valid
//	     1   reserved
//	     4   attributes: non-volatile, at boot and at run time, with a time
//	     8   monotonic count
//	    16   time, all 0: it has never been written with a signature
//	     4   index of a key
//	     4   size of the name
//	     4   size of the data
//	    16   GUID of the variable's owner
//	         name, UTF-16 with a 0; data
//	         0xff where nothing has been written
//
// The data of db is a signature list for each certificate (UEFI 2.10, 32.4.1):
//
//	16 GUID of X.509 certificates
//	 4 size of the list, with these 28 bytes
//	 4 size of a header, 0
//	 4 size of one entry
//	   the entry: 16 bytes of its owner's GUID, the certificate's DER
//
// All numbers are little-endian.
func withDB(image []byte, certificates [][]byte) ([]byte, error) {
	if len(image) < 0x38 || string(image[0x28:0x2c]) != "_FVH" {
		return nil, fmt.Errorf("this is no image of OVMF's variables")
	}
	store := int(binary.LittleEndian.Uint16(image[0x30:]))
	const header = 28
	if store+header > len(image) || !bytes.Equal(image[store:store+16], guid("aaf32c78-947b-439a-a180-2e144ec37792")) {
		return nil, fmt.Errorf("this image of OVMF's variables has no store of authenticated variables")
	}
	size := int(binary.LittleEndian.Uint32(image[store+16:]))
	first := (store + header + 3) &^ 3
	if size < header || store+size > len(image) || first+2 > store+size || image[store+20] != 0x5a || image[store+21] != 0xfe {
		return nil, fmt.Errorf("the variable store of this image is not whole")
	}
	if image[first] != 0xff || image[first+1] != 0xff {
		return nil, fmt.Errorf("this image of OVMF's variables is not empty")
	}

	le := binary.LittleEndian
	var data []byte
	for _, der := range certificates {
		data = append(data, guid("a5c059a1-94e4-4aa7-87b5-ab155c2bf072")...)
		data = le.AppendUint32(data, uint32(28+16+len(der)))
		data = le.AppendUint32(data, 0)
		data = le.AppendUint32(data, uint32(16+len(der)))
		data = append(append(data, make([]byte, 16)...), der...)
	}
	var name []byte
	for _, c := range utf16.Encode([]rune("db\x00")) {
		name = le.AppendUint16(name, c)
	}
	const nonVolatile, boot, run, timed = 1, 2, 4, 0x20
	v := le.AppendUint16(nil, 0x55aa)
	v = append(v, 0x3f, 0)
	v = le.AppendUint32(v, nonVolatile|boot|run|timed)
	v = append(v, make([]byte, 8+16+4)...)
	v = le.AppendUint32(v, uint32(len(name)))
	v = le.AppendUint32(v, uint32(len(data)))
	v = append(v, guid("d719b2cb-3d3a-4596-a3bc-dad00e67656f")...)
	v = append(append(v, name...), data...)
	if first+len(v) > store+size {
		return nil, fmt.Errorf("%d bytes of certificates do not fit into OVMF's variables", len(data))
	}
	image = bytes.Clone(image)
	copy(image[first:], v)
	return image, nil
}

// guid writes a GUID as UEFI does: the first three fields little-endian.
func guid(text string) []byte {
	var a uint32
	var b, c, d uint16
	var e uint64
	fmt.Sscanf(text, "%08x-%04x-%04x-%04x-%012x", &a, &b, &c, &d, &e)
	out := binary.LittleEndian.AppendUint32(nil, a)
	out = binary.LittleEndian.AppendUint16(binary.LittleEndian.AppendUint16(out, b), c)
	out = binary.BigEndian.AppendUint16(out, d)
	return append(out, binary.BigEndian.AppendUint64(nil, e)[2:]...)
}
