package config

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// A Folder is the files of one campaign set.
type Folder struct {
	Path  string // the directory, "" for files that were named one by one
	Files []string
}

// FindSets returns the campaign sets at the paths. The files among the paths are
// one set; of a directory, itself and each directory below it that has campaign
// files is a set of its own.
func FindSets(paths ...string) ([]Folder, error) {
	if len(paths) == 0 {
		return nil, errors.New("reading campaigns: no path: name a campaign file or a directory of them")
	}
	var sets []Folder
	var named []string
	for _, p := range paths {
		info, err := os.Stat(p)
		if err != nil {
			return nil, fmt.Errorf("reading campaigns: %w: name a campaign file or a directory of them", err)
		}
		if !info.IsDir() {
			named = append(named, p)
			continue
		}
		below, err := setsBelow(p)
		if err != nil {
			return nil, err
		}
		sets = append(sets, below...)
	}
	if len(named) == 0 {
		return sets, nil
	}
	files, err := CampaignFiles(named...)
	if err != nil {
		return nil, err
	}
	return append([]Folder{{Files: files}}, sets...), nil
}

func setsBelow(dir string) (sets []Folder, err error) {
	err = filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return fmt.Errorf("reading campaigns: %w", err)
		case !d.IsDir():
			return nil
		case strings.HasPrefix(d.Name(), ".") && name != dir:
			return filepath.SkipDir
		}
		files, err := CampaignFiles(name)
		switch {
		case errors.Is(err, errNoCampaigns):
			return nil
		case err != nil:
			return err
		}
		sets = append(sets, Folder{filepath.Clean(name), files})
		return nil
	})
	if err == nil && len(sets) == 0 {
		err = fmt.Errorf("reading campaigns: %s: %w", dir, errNoCampaigns)
	}
	return sets, err
}
