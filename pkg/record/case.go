package record

import "github.com/tracer-framework/tracer/pkg/model"

// Cases are rows of table case.
type Cases struct {
	CaseID     Word
	Run        Word
	Title      Text
	Stage      Word
	Inputs     Inputs
	Detections Uint[uint64]
	Traces     Uint[uint64]
	Profiles   Word
	Updated    Time

	table []named
}

func (c *Cases) columns() []named {
	if c.table == nil {
		c.Inputs.bind()
		c.table = []named{
			{"case_id", &c.CaseID},
			{"run", &c.Run},
			{"title", &c.Title},
			{"stage", &c.Stage},
			{"inputs", &c.Inputs},
			{"detections", &c.Detections},
			{"traces", &c.Traces},
			{"profiles", &c.Profiles},
			{"updated", &c.Updated},
		}
	}
	return c.table
}

// Append adds a row.
func (c *Cases) Append(v *model.Case) {
	c.CaseID.Append(v.CaseID)
	c.Run.Append(v.Run)
	c.Title.Append(v.Title)
	c.Stage.Append(v.Stage)
	c.Inputs.Append(v.Inputs)
	c.Detections.Append(v.Detections)
	c.Traces.Append(v.Traces)
	c.Profiles.Append(v.Profiles)
	c.Updated.Append(v.Updated)
}

// Row writes row i to v.
func (c *Cases) Row(i int, v *model.Case) {
	v.CaseID = c.CaseID.Row(i)
	v.Run = c.Run.Row(i)
	v.Title = c.Title.Row(i)
	v.Stage = c.Stage.Row(i)
	v.Inputs = c.Inputs.Row(i)
	v.Detections = c.Detections.Row(i)
	v.Traces = c.Traces.Row(i)
	v.Profiles = c.Profiles.Row(i)
	v.Updated = c.Updated.Row(i)
}

// Rows is the number of rows.
func (c *Cases) Rows() int { return c.CaseID.Rows() }

// Reset drops all rows and keeps the memory.
func (c *Cases) Reset() { reset(c.columns()) }
