module github.com/stakeout-project/stakeout

go 1.26.0
