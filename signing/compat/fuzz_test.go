package compat

import (
	"bytes"
	"errors"
	"strings"
	"testing"
)

func TestTrailer(t *testing.T) {
	t.Parallel()
	good := appendSignature([]byte("content"), []byte("signature"))
	got, err := readTrailer(bytes.NewReader(good), int64(len(good)))
	if err != nil || got != (trailer{content: 7, signature: 9}) {
		t.Errorf("%+v, %v", got, err)
	}
	for name, bad := range map[string][]byte{
		"empty":           {},
		"marker cut":      good[:len(good)-1],
		"marker alone":    []byte(marker),
		"no content":      appendSignature(nil, []byte("signature")),
		"no signature":    appendSignature([]byte("content"), nil),
		"longer than all": append([]byte{0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 1, 0}, marker...),
		"huge":            append([]byte{0, 0, 2, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff}, marker...),
		"over the limit":  appendSignature([]byte("content"), make([]byte, maxSignature+1)),
		"little-endian":   append([]byte("contentsignature\x00\x00\x02\x00\x00\x00\x00\x00\x09\x00\x00\x00"), marker...),
		"algo":            flipped(good, 7+9+0),
		"hash":            flipped(good, 7+9+1),
		"id_type":         flipped(good, 7+9+2),
		"signer_len":      flipped(good, 7+9+3),
		"key_id_len":      flipped(good, 7+9+4),
		"pad":             flipped(good, 7+9+6),
	} {
		if got, err := readTrailer(bytes.NewReader(bad), int64(len(bad))); err == nil {
			t.Errorf("%s: %+v", name, got)
		}
	}
}

func FuzzTrailer(f *testing.F) {
	good := appendSignature([]byte("content"), []byte("signature"))
	f.Add(good)
	f.Add(flipped(good, -len(marker)-2))
	f.Add([]byte(marker))
	f.Fuzz(func(t *testing.T, data []byte) {
		got, err := readTrailer(bytes.NewReader(data), int64(len(data)))
		var malformed *trailerError
		switch {
		case errors.Is(err, errNoTrailer):
			if bytes.HasSuffix(data, []byte(marker)) {
				t.Error("the marker was not seen")
			}
		case errors.As(err, &malformed):
			if malformed.offset < 0 || malformed.offset > int64(len(data)) {
				t.Errorf("offset %d of %d", malformed.offset, len(data))
			}
		case err != nil:
			t.Errorf("error of another kind: %v", err)
		default:
			// What was read must be the file again when written.
			end := got.content + got.signature
			if got.content < 1 || got.signature < 1 || end > int64(len(data)) ||
				!bytes.Equal(appendSignature(data[:got.content], data[got.content:end]), data) {
				t.Errorf("%+v of %d bytes", got, len(data))
			}
		}
	})
}

func FuzzSigners(f *testing.F) {
	f.Add([]byte{0x30, 0x80})
	f.Add([]byte{0x30, 0x0d, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x07, 0x02, 0xa0, 0x00})
	f.Fuzz(func(t *testing.T, der []byte) {
		tokenTime(der)
		signers, err := readSigners(der)
		for _, s := range signers {
			if err != nil || !bytes.Contains(der, s.signature) || !bytes.Contains(der, s.token) {
				t.Errorf("%+v, %v", s, err)
			}
		}
	})
}

// what osslsigncode 2.9 prints, shortened to the lines that are read.
const signcodeGood = `PE checksum   : 001C0336

Signature Index: 0  (Primary Signature)

Message digest algorithm  : SHA256
Current message digest    : 9E33
Calculated message digest : 9E33
Timestamp Server Signature verification: ok
Signature verification: ok

Signature Index: 1

Current message digest    : 9E33
Calculated message digest : 9E33
Timestamp is not available
Signature verification: ok

Number of verified signatures: 2
Succeeded
`

func TestReadSigncode(t *testing.T) {
	t.Parallel()
	p := program{name: "osslsigncode"}
	if err := p.readSigncode(answer{stdout: signcodeGood}); err != nil {
		t.Errorf("good: %v", err)
	}
	for name, change := range map[string][2]string{
		"first signature failed": {"Signature verification: ok\n\nSignature", "Signature verification: failed\n\nSignature"},
		"first signature silent": {"Signature verification: ok\n\nSignature", "\nSignature"},
		"second timestamp":       {"Timestamp is not available", ""},
		"first timestamp":        {"Server Signature verification: ok", "Server Signature verification: failed"},
		"both words":             {"Signature verification: ok\n\nNumber", "Signature verification: failed\nSignature verification: ok\n\nNumber"},
		"digest":                 {"Calculated message digest : 9E33\nT", "Calculated message digest : 9E34 MISMATCH!!!\nT"},
		"checksum":               {"PE checksum   : 001C0336", "Warning: invalid PE checksum"},
		"failed at last":         {"Succeeded", "Failed"},
	} {
		if err := p.readSigncode(answer{stdout: strings.Replace(signcodeGood, change[0], change[1], 1)}); !errors.As(err, new(*RefusalError)) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, change := range map[string][2]string{
		"count":            {"signatures: 2", "signatures: 3"},
		"no digest":        {"Calculated message digest : 9E33\nT", "T"},
		"no end":           {"Succeeded", ""},
		"only the verdict": {signcodeGood, "Succeeded"},
	} {
		var unclear *UnclearError
		if err := p.readSigncode(answer{stdout: strings.Replace(signcodeGood, change[0], change[1], 1)}); !errors.As(err, &unclear) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func FuzzReadSigncode(f *testing.F) {
	f.Add(signcodeGood, "", 0)
	f.Add("Failed\n", "No signature found\n", 1)
	f.Fuzz(func(t *testing.T, stdout, stderr string, exit int) {
		err := program{name: "osslsigncode"}.readSigncode(answer{stdout, stderr, exit})
		if err == nil && (exit != 0 || strings.Contains(stdout, "MISMATCH!!!") && !strings.Contains(stdout, "Signature Index")) {
			t.Errorf("accepted: exit %d\n%s", exit, stdout)
		}
	})
}
