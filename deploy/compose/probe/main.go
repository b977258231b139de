// Command probe asks a URL and tells by its exit status whether the answer was
// good. An image without a shell and curl needs it for its health check.
package main

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"time"
)

func main() {
	if err := probe(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "probe:", err)
		os.Exit(1)
	}
}

func probe(args []string) (err error) {
	if len(args) != 1 {
		return fmt.Errorf("want one URL, have %d arguments", len(args))
	}
	client := http.Client{Timeout: 5 * time.Second}
	resp, err := client.Get(args[0])
	if err != nil {
		return err
	}
	defer func() {
		if cerr := resp.Body.Close(); err == nil {
			err = cerr
		}
	}()
	// What is not ready says which part it lacks: Docker keeps it with the state of the container.
	if _, err := io.Copy(os.Stdout, io.LimitReader(resp.Body, 4<<10)); err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s answers %s", args[0], resp.Status)
	}
	return nil
}
