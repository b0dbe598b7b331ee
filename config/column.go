package config

// A Column counts the cells of a column of a CSV file by what they look like. What
// the column holds can be told only from all of its cells: with 01234 among them,
// 12345 is no number either.
type Column struct {
	Cells   int // all of them
	Empty   int
	Numbers int // numbers as in JSON
	Bools   int // true or false
}

// Add counts a cell.
func (c *Column) Add(cell string) {
	c.Cells++
	switch {
	case cell == "":
		c.Empty++
	case cell == "true" || cell == "false":
		c.Bools++
	case jsonNumber.MatchString(cell):
		c.Numbers++
	}
}
