package train

import (
	"fmt"
	"io"
	"reflect"
	"strings"
)

// Field is what people are told of one field of a config.
type Field struct {
	Table   string // what stands in brackets above it, brackets included; empty at the top
	Key     string
	Default string // as TOML has it, or in words; empty: it must be given, or is empty
	Help    string
}

// Fields lists all fields of a config in the order of a file.
func Fields() []Field {
	return fieldsOf(reflect.ValueOf(Default()), "", "")
}

// fieldsOf lists the fields of a table, its own before those of tables inside.
func fieldsOf(table reflect.Value, path, header string) []Field {
	var own, inside []Field
	for i := range table.NumField() {
		f, v := table.Type().Field(i), table.Field(i)
		key := f.Tag.Get("toml")
		at := strings.TrimPrefix(path+"."+key, ".")
		switch {
		case v.Kind() == reflect.Struct:
			inside = append(inside, fieldsOf(v, at, "["+at+"]")...)
		case v.Kind() == reflect.Slice && f.Type.Elem().Kind() == reflect.Struct:
			inside = append(inside, fieldsOf(reflect.Zero(f.Type.Elem()), at, "[["+at+"]]")...)
		default:
			own = append(own, Field{Table: header, Key: key, Default: defaultOf(f, v), Help: f.Tag.Get("help")})
		}
	}
	return append(own, inside...)
}

func defaultOf(f reflect.StructField, v reflect.Value) string {
	if words := f.Tag.Get("default"); words != "" {
		return words
	}
	switch {
	case v.Kind() == reflect.Bool:
		return fmt.Sprint(v.Bool())
	case v.IsZero():
		return ""
	case v.Kind() == reflect.String:
		return fmt.Sprintf("%q", v.String())
	default:
		return fmt.Sprint(v.Interface())
	}
}

// WriteFields prints every field with its default as a config in which all is commented out.
func WriteFields(w io.Writer) error {
	var b strings.Builder
	table := ""
	for i, f := range Fields() {
		if f.Table != table {
			table = f.Table
			fmt.Fprintf(&b, "\n%s\n", table)
		} else if i == 0 {
			fmt.Fprintf(&b, "# A training run: nosa train FILE. Fields behind # have the default that is shown.\n")
		}
		fmt.Fprintf(&b, "# %s\n#%s = %s\n", f.Help, f.Key, f.Default)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// WriteTable prints them as the table of docs/train.md.
func WriteTable(w io.Writer) error {
	var b strings.Builder
	b.WriteString("| field | meaning | default |\n|---|---|---|\n")
	for _, f := range Fields() {
		name := "`" + f.Key + "`"
		if f.Table != "" {
			name = "`" + f.Table + "` " + name
		}
		def := f.Default
		if def != "" && !strings.Contains(def, " ") {
			def = "`" + def + "`"
		}
		fmt.Fprintf(&b, "| %s | %s | %s |\n", name, strings.ReplaceAll(f.Help, "|", "\\|"), def)
	}
	_, err := io.WriteString(w, b.String())
	return err
}
