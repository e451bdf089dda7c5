package analyze

import "bytes"

// magicLen is how many first bytes of a body are looked at.
const magicLen = 272

// magicOf names the kind of a body by its first bytes, as a media type; "" if it is none
// of those worth telling apart in an investigation.
func magicOf(b []byte) string {
	for _, m := range magics {
		if len(b) >= m.at+len(m.mark) && string(b[m.at:m.at+len(m.mark)]) == m.mark {
			if m.name == "application/zip" && len(b) >= 39 && string(b[30:39]) == "META-INF/" {
				return "application/java-archive"
			}
			return m.name
		}
	}
	if bytes.HasPrefix(b, []byte("\xca\xfe\xba\xbe")) && len(b) >= 8 { // shared by two formats
		if b[4] == 0 && b[5] == 0 && b[6] == 0 && b[7] < 20 { // number of architectures, else a version
			return "application/x-mach-binary"
		}
		return "application/java-vm"
	}
	return magicText(b)
}

var magics = []struct {
	at         int
	mark, name string
}{
	{0, "MZ", "application/x-dosexec"},
	{0, "\x7fELF", "application/x-executable"},
	{0, "\xfe\xed\xfa\xce", "application/x-mach-binary"},
	{0, "\xfe\xed\xfa\xcf", "application/x-mach-binary"},
	{0, "\xce\xfa\xed\xfe", "application/x-mach-binary"},
	{0, "\xcf\xfa\xed\xfe", "application/x-mach-binary"},
	{0, "%PDF-", "application/pdf"},
	{0, "PK\x03\x04", "application/zip"},
	{0, "PK\x05\x06", "application/zip"},
	{0, "\x1f\x8b", "application/gzip"},
	{0, "\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "application/x-ole-storage"},
	{0, "Rar!\x1a\x07", "application/x-rar"},
	{0, "7z\xbc\xaf\x27\x1c", "application/x-7z-compressed"},
	{0, "\xfd7zXZ\x00", "application/x-xz"},
	{0, "BZh", "application/x-bzip2"},
	{0, "MSCF\x00\x00\x00\x00", "application/vnd.ms-cab-compressed"},
	{0, "L\x00\x00\x00\x01\x14\x02\x00", "application/x-ms-shortcut"},
	{0, "{\\rtf", "text/rtf"},
	{0, "FWS", "application/x-shockwave-flash"},
	{0, "CWS", "application/x-shockwave-flash"},
	{0, "ZWS", "application/x-shockwave-flash"},
	{0, "\x89PNG\r\n\x1a\n", "image/png"},
	{0, "\xff\xd8\xff", "image/jpeg"},
	{0, "GIF87a", "image/gif"},
	{0, "GIF89a", "image/gif"},
	{257, "ustar", "application/x-tar"},
}

var htmlMarks = []string{"<!doctype html", "<html", "<head", "<body", "<script", "<title"}

var scriptMarks = []struct{ mark, name string }{
	{"#!", "text/x-shellscript"},
	{"<?php", "text/x-php"},
	{"<?xml", "application/xml"},
	{"powershell", "text/x-powershell"},
	{"@echo off", "text/x-msdos-batch"},
}

// magicText judges bodies that begin with text, letter case and leading blanks aside.
func magicText(b []byte) string {
	b = bytes.TrimPrefix(b, []byte("\xef\xbb\xbf"))
	b = bytes.TrimLeft(b, " \t\r\n")
	if bytes.HasPrefix(b, []byte("<!--")) { // a comment before the page
		if i := bytes.Index(b, []byte("-->")); i >= 0 {
			b = bytes.TrimLeft(b[i+3:], " \t\r\n")
		}
	}
	for _, m := range htmlMarks {
		if foldPrefix(b, m) {
			return "text/html"
		}
	}
	for _, m := range scriptMarks {
		if foldPrefix(b, m.mark) {
			return m.name
		}
	}
	return ""
}

// foldPrefix reports whether b begins with the lower-case ASCII text p in any case.
func foldPrefix(b []byte, p string) bool {
	return len(b) >= len(p) && bytes.EqualFold(b[:len(p)], []byte(p))
}
