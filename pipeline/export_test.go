package pipeline

// For tests that read scenarios: the packages that do so import this one.
var CompareWithOracle = compareWithOracle
