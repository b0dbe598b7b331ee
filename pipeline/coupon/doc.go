// Package coupon makes the codes of coupons and checks them, without a server. A
// code is bound to one user and one offer of one campaign, may expire, and cannot
// be made or changed without the secret key. A shop's checkout needs nothing but
// this package and a file of keys:
//
//	keys, err := coupon.Parse(file)
//	info, err := keys.Check(code, coupon.User("ada"), time.Now())
//
// A code is for single use, but only the shop knows which codes are used: it
// records Info.Code, which is the same however the code was typed, and accepts
// each only once.
//
// # Keys
//
// A key is 32 random bytes, written as 64 hexadecimal digits (Parse). Its id is the
// letter k and the first 4 bytes of the SHA-256 of the key, in hexadecimal. A
// campaign set names the key of its codes by the id. To change the key, add the
// new one to the files of workers and checkouts, then name it in the set. Keep the
// old one until the last code under it has expired and the log no longer has
// messages from before the change: the offers that a worker computes from these
// again have codes under the old key.
//
// Whoever has a key can make codes. Whoever has a code cannot make another one.
//
// # Codes
//
// A code of version 1 has 220 bits. All numbers are big-endian:
//
//	 4 bits  version: 1
//	32 bits  the key's id, without its letter
//	32 bits  the campaign's number: the first 4 bytes of the SHA-256 of its id,
//	         which includes the row (Number)
//	34 bits  expiry, in seconds since 1970, rounded up; 0: never
//	38 bits  nonce: the first 38 bits of the SHA-256 of the offer's id
//	80 bits  MAC: the first 10 bytes of HMAC-SHA-256, under the key, of the text
//	         "offerstream coupon", a zero byte, the 18 bytes that have 4 zero
//	         bits and all of the above, and the user
//
// The user is the user's key in the log: u: and the userId, or a: and the
// anonymousId. It is not part of the code.
//
// The text of a code is Crockford's base32 (https://www.crockford.com/base32.html)
// of these bits: 44 digits, in 4 groups of 11 with - between them. All characters
// are allowed in URLs and are in the alphabet of SMS. Small letters may be written
// for capitals, O for 0, I and L for 1; hyphens and spaces do not matter.
//
// # Limits
//
// A forged code passes with a probability of 2^-80 per attempt. Two offers of one
// campaign to one user that expire in the same second have the same nonce, and so
// the same code, with a probability of 2^-38. An expiry is a time from 1970 to
// 2514, exact to a second. Two campaigns may have the same number, with a
// probability of 2^-32: numbers are for reports, and the MAC does not depend on
// their being distinct.
package coupon
