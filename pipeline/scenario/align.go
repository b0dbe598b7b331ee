package scenario

// An Aligned is a line of two aligned lists: it is in the first list, in the
// second, or in both. First and Second are its indexes in the lists, or -1.
type Aligned struct{ First, Second int }

// Sign returns - for a line that is only in the first list, + for one that is
// only in the second, and a space for one that is in both.
func (a Aligned) Sign() byte {
	switch {
	case a.Second < 0:
		return '-'
	case a.First < 0:
		return '+'
	}
	return ' '
}

func (a Aligned) of(first, second []Offer) Offer {
	if a.First >= 0 {
		return first[a.First]
	}
	return second[a.Second]
}

// Align aligns two lists so that as many lines as possible are in both.
func Align(first, second []Offer) []Aligned {
	var head []Aligned
	for len(head) < min(len(first), len(second)) && first[len(head)].Same(second[len(head)]) {
		head = append(head, Aligned{len(head), len(head)})
	}
	n, m := len(first), len(second)
	tail := 0
	for min(n, m)-tail > len(head) && first[n-1-tail].Same(second[m-1-tail]) {
		tail++
	}
	lines := append(head, middle(first, second, len(head), n-tail, m-tail)...)
	for i := range tail {
		lines = append(lines, Aligned{n - tail + i, m - tail + i})
	}
	return lines
}

// most is the largest size of the table that finds the longest common list.
// Lists that need a larger one are shown one after the other.
const most = 4 << 20

// middle aligns first[from:n] and second[from:m].
func middle(first, second []Offer, from, n, m int) (lines []Aligned) {
	rows, cols := n-from, m-from
	var common []int32 // [i*(cols+1)+j]: the length of the longest common list of first[from+i:n] and second[from+j:m]
	at := func(i, j int) *int32 { return &common[i*(cols+1)+j] }
	if rows*cols <= most {
		common = make([]int32, (rows+1)*(cols+1))
		for i := rows - 1; i >= 0; i-- {
			for j := cols - 1; j >= 0; j-- {
				if first[from+i].Same(second[from+j]) {
					*at(i, j) = *at(i+1, j+1) + 1
				} else {
					*at(i, j) = max(*at(i+1, j), *at(i, j+1))
				}
			}
		}
	}
	i, j := 0, 0
	for i < rows || j < cols {
		switch {
		case i < rows && j < cols && common != nil && first[from+i].Same(second[from+j]):
			lines = append(lines, Aligned{from + i, from + j})
			i, j = i+1, j+1
		case i < rows && (j == cols || common == nil || *at(i+1, j) >= *at(i, j+1)):
			lines = append(lines, Aligned{from + i, -1})
			i++
		default:
			lines = append(lines, Aligned{-1, from + j})
			j++
		}
	}
	return lines
}
