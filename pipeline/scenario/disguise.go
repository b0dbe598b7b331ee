package scenario

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/valyala/fastjson"

	"offerstream/pipeline"
	"offerstream/pipeline/lazyregexp"
	"offerstream/pipeline/value"
)

// A disguise replaces a user's id, and values that are obviously personal. Equal
// values are replaced by equal ones.
type disguise struct {
	was, name string // the user's id, and what it becomes
	values    map[string]string
	made      map[string]int  // how many values of each kind there are
	replaced  map[string]bool // the names of what was replaced
}

// leastID is the least length of an id that is replaced wherever it stands: a shorter
// one may be a number that means something else.
const leastID = 5

// mostNames bounds the names that are tried.
const mostNames = 100_000

// disguiseOf finds a name for a user that is in the same control groups, of those
// units that have offered something to the user.
func disguiseOf(set *pipeline.Set, key string, offers []Offer) *disguise {
	units := map[string]bool{"": true}
	for _, o := range offers {
		units[o.Campaign] = true
	}
	names, base := slices.Sorted(maps.Keys(units)), "ada"
	if key[:2] == "a:" {
		base = "visitor"
	}
	like := func(name string) bool {
		return !slices.ContainsFunc(names, func(unit string) bool { return set.InHoldout(unit, key) != set.InHoldout(unit, key[:2]+name) })
	}
	name := base
	for i := 2; !like(name) && i < mostNames; i++ {
		name = fmt.Sprintf("%s-%d", base, i)
	}
	return &disguise{was: key[2:], name: name, values: map[string]string{}, made: map[string]int{}, replaced: map[string]bool{}}
}

// personal are the names, in small letters and without - and _, of what is obviously
// personal, with what stands for the first value of the kind.
var personal = map[string]string{
	"email": "ada@example.com", "emailaddress": "ada@example.com", "mail": "ada@example.com",
	"phone": "+10000000000", "phonenumber": "+10000000000", "mobile": "+10000000000", "mobilephone": "+10000000000", "tel": "+10000000000", "telephone": "+10000000000",
	"firstname": "Ada", "givenname": "Ada", "lastname": "Example", "familyname": "Example", "surname": "Example", "fullname": "Ada Example", "username": "ada", "nickname": "ada",
	"address": "1 Example Street", "street": "1 Example Street", "street1": "1 Example Street", "street2": "1 Example Street", "zip": "00000", "postalcode": "00000", "postcode": "00000",
	"birthday": "2000-01-01", "birthdate": "2000-01-01", "dateofbirth": "2000-01-01", "avatar": "https://example.com/ada.png", "ip": "192.0.2.1",
	"advertisingid": "device", "token": "token", "password": "password",
}

// personalTraits are personal as a trait; as a property they may belong to a product.
var personalTraits = map[string]string{"name": "Ada Example", "title": "Dr", "id": "ada", "userid": "ada", "login": "ada"}

var emailForm = lazyregexp.New(`[\pL\pN._%+-]+@[\pL\pN-]+(\.[\pL\pN-]+)*\.\pL{2,}`)

// append appends the JSON of a value of the event, disguised. name is the name under
// which it stands; traits says that it is a trait, or within one.
func (d *disguise) append(dst []byte, name string, v *fastjson.Value, traits bool) []byte {
	switch v.Type() {
	case fastjson.TypeObject:
		dst = append(dst, '{')
		value.VisitFirst(v.GetObject(), func(name string, v *fastjson.Value) {
			if dst[len(dst)-1] != '{' {
				dst = append(dst, ',')
			}
			dst = append(value.AppendJSONString(dst, name), ':')
			dst = d.append(dst, name, v, traits)
		})
		return append(dst, '}')
	case fastjson.TypeArray:
		dst = append(dst, '[')
		for i, e := range v.GetArray() {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = d.append(dst, name, e, traits)
		}
		return append(dst, ']')
	}
	text, isText := value.AliasText(v), v.Type() == fastjson.TypeString
	if v.Type() == fastjson.TypeNumber {
		text, _ = value.Decimal(v)
	}
	if text == "" {
		return value.AppendCompact(dst, v)
	}
	kind := strings.NewReplacer("-", "", "_", "", " ", "").Replace(strings.ToLower(name))
	first, is := personal[kind]
	if !is && traits {
		first, is = personalTraits[kind]
	}
	switch {
	case text == d.was && len(text) >= leastID:
		d.replaced["the user's id in "+name] = true
		return value.AppendJSONString(dst, d.name)
	case is && isText:
		d.replaced[strings.Clone(name)] = true
		return value.AppendJSONString(dst, d.stand(first, text))
	case is && v.Type() == fastjson.TypeNumber:
		d.replaced[strings.Clone(name)] = true
		return append(dst, d.stand("1000000", text)...)
	case isText && emailForm.MatchString(text):
		d.replaced[strings.Clone(name)] = true
		return value.AppendJSONString(dst, emailForm.ReplaceAllStringFunc(d.withoutID(text), func(s string) string { return d.stand(personal["email"], s) }))
	}
	if without := d.withoutID(text); isText && without != text { // such as an address of a page
		d.replaced["the user's id in "+name] = true
		return value.AppendJSONString(dst, without)
	}
	return value.AppendCompact(dst, v)
}

// withoutID is a text in which the user's id is replaced, where it is no part of a
// longer word or number.
func (d *disguise) withoutID(text string) string {
	if len(d.was) < leastID || !strings.Contains(text, d.was) {
		return text
	}
	var b strings.Builder
	for before := ' '; ; {
		i := strings.Index(text, d.was)
		if i < 0 {
			return b.String() + text
		}
		if i > 0 {
			before, _ = utf8.DecodeLastRuneInString(text[:i])
		}
		end := i + len(d.was)
		after, _ := utf8.DecodeRuneInString(text[end:])
		b.WriteString(text[:i])
		if isLetterOrDigit(before) || isLetterOrDigit(after) {
			b.WriteString(d.was)
		} else {
			b.WriteString(d.name)
		}
		before, _ = utf8.DecodeLastRuneInString(d.was)
		text = text[end:]
	}
}

func isLetterOrDigit(r rune) bool { return unicode.IsLetter(r) || unicode.IsDigit(r) }

// stand is what stands for a text: first for the first text of its kind, and the same
// with a number for others.
func (d *disguise) stand(first, text string) string {
	key := first + "\x00" + text
	if s, known := d.values[key]; known {
		return s
	}
	s := first
	if d.made[first]++; d.made[first] > 1 {
		s = fmt.Sprint(first, d.made[first])
		if at := strings.IndexByte(first, '@'); at > 0 {
			s = fmt.Sprint(first[:at], d.made[first], first[at:])
		}
	}
	d.values[key] = s
	return s
}
