//! A batch script that lets Slurm work through a plan as a job array.

use std::fmt::Write;

/// What a script asks of Slurm, and what it runs.
#[derive(Clone, Debug)]
pub struct Script {
    /// Runs in the plan.
    pub runs: usize,
    /// Runs of an array task, one after the other; more than 1 where a plan is longer than an array
    /// may be.
    pub chunk: usize,
    /// Array tasks at a time; `None` for as many as there is room for.
    pub at_a_time: Option<usize>,
    /// The job's name.
    pub name: String,
    /// Time limit of a task, in Slurm's notation; `None` for the partition's.
    pub time: Option<String>,
    /// Partition; `None` for the cluster's default.
    pub partition: Option<String>,
    /// Cores of a task.
    pub cpus: usize,
    /// GPUs of a task.
    pub gpus: usize,
    /// Seconds before the time limit at which a task saves its state and queues again.
    pub warning: u32,
    /// Further options of sbatch, `--account=x`.
    pub options: Vec<String>,
    /// Pattern of the log files' names, with Slurm's `%A` and `%a`.
    pub log: String,
    /// The words of a worker's command line, without the index.
    pub command: Vec<String>,
    /// `SPARSECODE_DATA` for the workers, absolute; `None` if it is not set.
    pub data: Option<String>,
}

impl Script {
    /// Array tasks.
    pub fn tasks(&self) -> usize {
        self.runs.div_ceil(self.chunk.max(1))
    }

    /// The script.
    ///
    /// Before the time limit Slurm sends USR1 to the script alone (`B:`), which asks the trainer to
    /// stop, waits until it has saved, and puts the task into the queue again; the task then
    /// resumes. A task that is preempted or asked to end (TERM) saves and ends. Whatever is lost
    /// without warning (a node, a `kill -9`) resumes from the last checkpoint when the task is
    /// queued again.
    pub fn text(&self) -> String {
        let mut text = String::from("#!/bin/bash\n");
        let mut option = |name: &str, value: &str| {
            let _ = writeln!(text, "#SBATCH --{name}={}", quoted_for_sbatch(value));
        };
        option("job-name", &self.name);
        let most = match self.at_a_time {
            Some(most) => format!("%{most}"),
            None => String::new(),
        };
        option(
            "array",
            &format!("0-{}{most}", self.tasks().saturating_sub(1)),
        );
        if let Some(partition) = &self.partition {
            option("partition", partition);
        }
        if let Some(time) = &self.time {
            option("time", time);
        }
        option("ntasks", "1");
        option("cpus-per-task", &self.cpus.to_string());
        if self.gpus > 0 {
            option("gres", &format!("gpu:{}", self.gpus));
        }
        option("signal", &format!("B:USR1@{}", self.warning));
        option("open-mode", "append");
        option("output", &self.log);
        text.push_str("#SBATCH --requeue\n");
        for option in &self.options {
            let _ = writeln!(text, "#SBATCH {option}");
        }
        let data = match &self.data {
            Some(data) => format!("export SPARSECODE_DATA={}\n", quoted(data)),
            None => String::new(),
        };
        let command: Vec<String> = self.command.iter().map(|word| quoted(word)).collect();
        let _ = write!(
            text,
            r#"
# Written by `sparsecode sweep slurm`. A task does {chunk} of {runs} runs; what is finished is passed over.
set -u
export RAYON_NUM_THREADS={cpus}
{data}first=$((SLURM_ARRAY_TASK_ID * {chunk}))
last=$((first + {chunk} - 1))
((last < {runs})) || last=$(({runs} - 1))

trainer=
stopping=
stop() {{ # The trainer saves its state at the end of its batch. $1: what to do then.
  stopping=$1
  [[ -z $trainer ]] || kill -TERM "$trainer" 2>/dev/null || true
}}
trap 'stop requeue' USR1
trap 'stop end' TERM

status=0
for ((index = first; index <= last && ${{#stopping}} == 0; index++)); do
  {command} --index "$index" &
  trainer=$!
  # A signal may have come before there was a trainer to be told.
  [[ -z $stopping ]] || kill -TERM "$trainer" 2>/dev/null || true
  # A signal ends `wait` early: wait until the trainer is gone.
  while true; do
    wait "$trainer"
    code=$?
    kill -0 "$trainer" 2>/dev/null || break
  done
  trainer=
  ((code == 0)) || status=1
done

if [[ $stopping == requeue ]]; then
  # SLURM_JOB_ID would do for most tasks, but one has the id of the whole array, whose requeueing begins every task again.
  task=${{SLURM_ARRAY_JOB_ID}}_$SLURM_ARRAY_TASK_ID
  echo "stopped before the time limit; queueing $task again"
  status=1
  if scontrol requeue "$task"; then
    sleep 60 # Slurm ends this script.
  else
    echo "scontrol requeue $task failed (status $?): the task is not queued again; submit the script once more to go on" >&2
  fi
fi
exit "$status"
"#,
            chunk = self.chunk,
            runs = self.runs,
            cpus = self.cpus,
            command = command.join(" "),
        );
        text
    }
}

/// A word of a shell command.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+=:,@%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

/// A value on a line that sbatch reads: it knows double quotes, and backslashes in them.
fn quoted_for_sbatch(value: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+=:,@%".contains(c);
    if value.chars().all(plain) {
        return value.to_owned();
    }
    format!("\"{}\"", value.replace('\\', r"\\").replace('"', "\\\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn script() -> Script {
        Script {
            runs: 24,
            chunk: 1,
            at_a_time: Some(4),
            name: "sweep".into(),
            time: Some("1:00:00".into()),
            partition: None,
            cpus: 2,
            gpus: 0,
            warning: 120,
            options: vec!["--account=lab".into()],
            log: "/data/my runs/slurm-%A_%a.log".into(),
            command: vec!["/opt/sparse code".into(), "sweep".into(), "it's".into()],
            data: None,
        }
    }

    #[test]
    fn says_what_slurm_is_asked_for() {
        let text = script().text();
        for line in [
            "#SBATCH --array=0-23%4",
            "#SBATCH --signal=B:USR1@120",
            "#SBATCH --requeue",
            "#SBATCH --open-mode=append",
            "#SBATCH --time=1:00:00",
            "#SBATCH --cpus-per-task=2",
            "#SBATCH --account=lab",
            "#SBATCH --output=\"/data/my runs/slurm-%A_%a.log\"",
            "export RAYON_NUM_THREADS=2",
            r#"  '/opt/sparse code' sweep 'it'\''s' --index "$index" &"#,
        ] {
            assert!(text.lines().any(|found| found == line), "{line}: {text}");
        }
        assert!(
            !text.contains("gres") && !text.contains("partition"),
            "{text}"
        );
    }

    #[test]
    fn chunks_cover_every_run_once() {
        for (runs, chunk, tasks) in [(24, 1, 24), (24, 5, 5), (25, 5, 5), (26, 5, 6), (1, 9, 1)] {
            let script = Script {
                runs,
                chunk,
                ..script()
            };
            assert_eq!(script.tasks(), tasks, "{runs} runs by {chunk}");
            assert!(
                script
                    .text()
                    .contains(&format!("--array=0-{}%4", tasks - 1))
            );
        }
    }
}
