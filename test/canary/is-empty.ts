// A test file whose author has forgotten everything.
export {}
