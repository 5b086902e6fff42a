// Package wit_runtime is what the generated bindings stand on: memory that crosses the border
// between the guest and its host.
//
// It goes with `weir plugin wrap`, whose stand-in for WASI never leaves the guest: so the collector
// may run in the middle of cabi_realloc, where calling out is forbidden.
package wit_runtime

import (
	"runtime"
	"unsafe"
)

// What the host has put into our memory and nobody has taken over yet. The collector moves nothing,
// so a reference is enough.
var held []unsafe.Pointer

// Unpin lets go of it: the values made from it are Go's own by now.
func Unpin() {
	clear(held)
	held = held[:0]
}

// Allocate gives memory that stays where it is until the pinner lets go.
func Allocate(pinner *runtime.Pinner, size, align uintptr) unsafe.Pointer {
	memory := allocate(size, align)
	if memory != nil {
		pinner.Pin(memory)
	}
	return memory
}

// Words of eight bytes lie right for everything that the component model has.
func allocate(size, align uintptr) unsafe.Pointer {
	if size == 0 {
		return nil
	}
	if 8 < align {
		panic("nothing of the component model is aligned to more than 8 bytes")
	}
	return unsafe.Pointer(unsafe.SliceData(make([]uint64, (size+7)/8)))
}

// The host asks for room with it.
//
//go:wasmexport cabi_realloc
func cabiRealloc(old unsafe.Pointer, oldSize, align, newSize uintptr) unsafe.Pointer {
	memory := allocate(newSize, align)
	if old != nil && memory != nil {
		copy(unsafe.Slice((*byte)(memory), newSize), unsafe.Slice((*byte)(old), min(oldSize, newSize)))
	}
	held = append(held, memory)
	return memory
}
