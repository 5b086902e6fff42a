// Package wit_types has WIT's option and result, as the generated bindings use them.
package wit_types

// Unit is what a result carries that carries nothing.
type Unit struct{}

const (
	OptionNone = 0
	OptionSome = 1
	ResultOk   = 0
	ResultErr  = 1
)

// Option is a value or none.
type Option[T any] struct {
	value  T
	isSome bool
}

// None is no value.
func None[T any]() Option[T] { return Option[T]{} }

// Some is this value.
func Some[T any](value T) Option[T] { return Option[T]{value, true} }

// Tag is OptionNone or OptionSome.
func (o Option[T]) Tag() uint8 {
	if o.isSome {
		return OptionSome
	}
	return OptionNone
}

// IsSome says whether there is a value.
func (o Option[T]) IsSome() bool { return o.isSome }

// Some gives the value, which must be there.
func (o Option[T]) Some() T {
	if !o.isSome {
		panic("there is no value in this option")
	}
	return o.value
}

// SomeOr gives the value, or the other one if there is none.
func (o Option[T]) SomeOr(other T) T {
	if o.isSome {
		return o.value
	}
	return other
}

// Result is a value or an error.
type Result[T, E any] struct {
	value T
	err   E
	isErr bool
}

// Ok is a result with a value.
func Ok[T, E any](value T) Result[T, E] { return Result[T, E]{value: value} }

// Err is a result with an error.
func Err[T, E any](err E) Result[T, E] { return Result[T, E]{err: err, isErr: true} }

// Tag is ResultOk or ResultErr.
func (r Result[T, E]) Tag() uint8 {
	if r.isErr {
		return ResultErr
	}
	return ResultOk
}

// Ok gives the value, which must be there.
func (r Result[T, E]) Ok() T {
	if r.isErr {
		panic("this result is an error")
	}
	return r.value
}

// Err gives the error, which must be there.
func (r Result[T, E]) Err() E {
	if !r.isErr {
		panic("this result is no error")
	}
	return r.err
}
