package signing

import "slices"

// RuleInfo explains a rule.
type RuleInfo struct {
	Rule    Rule
	Demands string // what
	Why     string // and what turning it off would let pass
	Off     bool   // a policy can turn it off
}

// Rules lists all rules, in the order in which a reader thinks of them: the file,
// the signature in it, the signer, the timestamp. Those without Off are what a
// verification is; without them nothing would be verified.
func Rules() []RuleInfo {
	return []RuleInfo{
		{RuleFormat, "the file is a well-formed PE, ELF or other known file", "", false},
		{RulePresent, "there is a signature", "", false},
		{RuleTable, "certificate table or trailer: bounds, alignment, revision, type", "", false},
		{RulePadding, "nothing but zeros, at most seven, behind a signature in its table entry, and in the free places of an MSI package or ZIP entry", "CVE-2013-3900, CVE-2020-1464: programs that carry a payload where no digest looks", true},
		{RuleTrailing, "nothing follows the certificate table or trailer", "", false},
		{RuleChecksum, "the PE checksum is right", "it covers the bytes of the table that no signature can; Windows demands it of drivers only", true},
		{RuleDER, "the signature is DER, its signed attributes in order", "signatures that Windows refuses; relic makes them", true},
		{RuleContent, "the signed content is of the scheme's type and length", "", false},
		{RuleDataType, "the signed content of a PE file is called SpcPeImageData", "signatures that Windows refuses; sbsign before 0.9.5 made them with the name of a statement type", true},
		{RuleDigest, "the file's digest is the signed one", "", false},
		{RulePageHash, "where there are page hashes, they are those of the file", "pages that Windows would refuse to load", true},
		{RuleMetadata, "an MSI package's signature covers the names and lengths of its streams (MsiDigitalSignatureEx)", "packages whose streams were renamed: tables and files would change places", true},
		{RuleSignature, "the signature verifies with the signer's key", "", false},
		{RuleWeak, "no SHA-1, in signature and timestamp", "digests for which collisions can be bought", true},
		{RuleWeakKey, "no RSA key under 2048 bits, of signer and timestamp authority", "keys that can be factored", true},
		{RuleUsage, "the signer's certificate is for code signing; an MSIX package is signed by its publisher", "a web server's key as a signer of programs", true},
		{RuleChain, "the signer's chain ends in a trusted root", "anybody as a signer", true},
		{RuleRevoked, "no given revocation list has a certificate of the chain, at the time of the timestamp; each is complete, of today and understood", "keys that were reported stolen", true},
		{RuleValidity, "the chain was valid at the time of the timestamp, or is now", "certificates long expired", true},
		{RuleTimestamp, "there is a timestamp", "a signature that dies with its certificate", true},
		{RuleLegacy, "it is no PKCS #9 countersignature, the form before RFC 3161", "timestamps over SHA-1 by authorities long closed", true},
		{RuleTSA, "the timestamp's chain ends in a trusted root, and it is for timestamping", "a time that anybody can claim: the timestamp then counts for nothing", true},
		{RuleFuture, "the timestamp is not in the future", "a clock set forward, to make a certificate look older than its end", true},
		{RuleBinding, "the timestamp is over this very signature", "", false},
		{RuleCertificate, "every embedded certificate belongs to the chain of the signer or of its timestamp", "bytes that nothing vouches for", true},
		{RuleUnsigned, "nothing unknown outside the signature's cover", "bytes that nothing vouches for", true},
	}
}

// CanBeOff reports whether a policy can turn a rule off.
func CanBeOff(r Rule) bool {
	return slices.ContainsFunc(Rules(), func(i RuleInfo) bool { return i.Rule == r && i.Off })
}
