// Package schemas holds the contracts between the services: the events on the bus and the
// tables of the store.
package schemas
