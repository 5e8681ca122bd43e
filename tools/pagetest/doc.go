// Package pagetest opens the page of `nosa serve` in Chromium, as a person would: with a
// pointer, with the keyboard alone, on a narrow screen, in the dark and in the light.
//
//	go test ./pagetest                          needs chromium, and the model of scripts/fetch-models
//	go test ./pagetest -shots ../docs/page      keeps the pictures of the docs
//	go test ./pagetest -axe axe.min.js          asks axe-core for faults of accessibility as well
package pagetest
