//go:build !unix

package release

import "io/fs"

// onlyOurs accepts everything: the folders of a user are the user's alone.
func onlyOurs(string, fs.FileInfo) error { return nil }

// sweepPrivate does nothing where a folder cannot be locked: it could be in use.
func sweepPrivate() {}
