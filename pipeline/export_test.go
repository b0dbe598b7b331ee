package pipeline

// CompareWithOracle is exported for tests in package pipeline_test, which use
// packages that import this one.
var CompareWithOracle = compareWithOracle
