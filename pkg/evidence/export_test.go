package evidence

// WithFault returns opt with a function that is asked before every effect on disk.
func WithFault(opt Options, fault func(op, path string) error) Options {
	opt.fault = fault
	return opt
}

// OpenObjectsWithFault is OpenObjects with a function that is asked before every effect.
func OpenObjectsWithFault(dir string, fault func(op, path string) error) (*Objects, error) {
	return openObjects(dir, fault)
}

// Encode gives the canonical JSON of an entry.
func Encode(e Entry) []byte { return e.encode() }

// Decode reads the canonical JSON of an entry.
func Decode(data []byte) (Entry, error) {
	var e Entry
	err := e.decode(data)
	return e, err
}

// TilePath is the path of a tile.
func TilePath(level int, n uint64, width int) string { return tilePath(level, n, width) }
